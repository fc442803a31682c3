using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Tests.Ring;

public class EventFdChannelTests
{
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(1);

    [Fact]
    public void Each_end_hears_the_other_and_not_itself()
    {
        var (local, remote) = EventFdChannel.CreatePair(3, 9);
        using (local)
        using (remote)
        {
            Assert.Equal((3u, 9u), (local.Port, remote.Port));
            local.Notify();
            Assert.False(local.Wait(TimeSpan.Zero, default));
            Assert.True(remote.Wait(Long, default));
            Assert.False(remote.Wait(TimeSpan.Zero, default));
            remote.Notify();
            Assert.True(local.Wait(Long, default));
        }
    }

    [Fact]
    public void An_end_outlives_the_disposal_of_the_other()
    {
        var (local, remote) = EventFdChannel.CreatePair(1, 2);
        using (local)
        {
            remote.Notify();
            remote.Dispose();
            local.Notify();
            Assert.True(local.Wait(Long, default));
        }
    }

    [Fact]
    public void Disposal_unbinds_once()
    {
        var unbound = 0;
        var channel = new EventFdChannel(1, Introspect.Hypervisor.Linux.EventFd.Create(), Introspect.Hypervisor.Linux.EventFd.Create(), null, () => unbound++);
        channel.Dispose();
        channel.Dispose();
        Assert.Equal(1, unbound);
    }

    [Fact]
    public void A_lifeline_that_ends_ends_the_wait()
    {
        var (mine, theirs) = Introspect.Hypervisor.Linux.UnixSocket.Pair();
        using var channel = new EventFdChannel(5, Introspect.Hypervisor.Linux.EventFd.Create(), Introspect.Hypervisor.Linux.EventFd.Create(), mine.Handle);
        theirs.Dispose();
        var refused = Assert.Throws<HypervisorException>(() => channel.Wait(Long, default));
        Assert.Equal(Errno.ENOTCONN, refused.Error);
        mine.Dispose();
    }
}
