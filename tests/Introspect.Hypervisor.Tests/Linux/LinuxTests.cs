using Introspect.Hypervisor.Linux;
using Microsoft.Win32.SafeHandles;

namespace Introspect.Hypervisor.Tests.Linux;

public class LinuxTests
{
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(1);

    [Fact]
    public void Two_mappings_of_a_memory_file_are_one_memory()
    {
        using var file = MemoryFile.Create("test", 3 * 4096);
        using var first = file.Map(4096, 8192, writable: true);
        using var second = file.Map(0, 3 * 4096, writable: false);
        first.Span[0] = 0x5a;
        first.Span[8191] = 0xa5;
        Assert.Equal(0x5a, second.Span[4096]);
        Assert.Equal(0xa5, second.Span[(3 * 4096) - 1]);
    }

    [Fact]
    public void A_punched_hole_reads_as_zero_in_every_mapping()
    {
        using var file = MemoryFile.Create("test", 8192);
        using var map = file.Map(0, 8192, writable: true);
        map.Span.Fill(1);
        file.PunchHole(4096, 4096);
        Assert.Equal(1, map.Span[4095]);
        Assert.Equal(new byte[4096], map.Span[4096..].ToArray());
    }

    [Fact]
    public void Pieces_of_files_lie_side_by_side_in_a_reservation()
    {
        using var one = MemoryFile.Create("one", 4 * 4096);
        using var two = MemoryFile.Create("two", 4 * 4096);
        using var reservation = MappedMemory.Reserve(3 * 4096);
        reservation.Overlay(0, one.Handle, 3 * 4096, 4096, writable: true);
        reservation.Overlay(4096, two.Handle, 0, 8192, writable: true);
        reservation.Span[0] = 1;
        reservation.Span[4096] = 2;
        reservation.Span[8192] = 3;
        using var oneMap = one.Map(0, 4 * 4096, writable: false);
        using var twoMap = two.Map(0, 4 * 4096, writable: false);
        Assert.Equal((1, 2, 3), (oneMap.Span[3 * 4096], twoMap.Span[0], twoMap.Span[4096]));
        Assert.Throws<ArgumentOutOfRangeException>(() => reservation.Overlay(8192, one.Handle, 0, 8192, writable: true));
    }

    [Fact]
    public void Mapping_beyond_the_end_is_refused()
    {
        using var file = MemoryFile.Create("test", 4096);
        Assert.Throws<ArgumentOutOfRangeException>(() => file.Map(0, 8192, writable: true));
        Assert.Throws<ArgumentOutOfRangeException>(() => file.Map(8192, 4096, writable: true));
    }

    [Fact]
    public void A_refused_call_tells_its_error_number()
    {
        using var file = MemoryFile.Create("test", 4096);
        var refused = Assert.Throws<HypervisorException>(() => MappedMemory.MapShared(file.Handle, 1, 4096, writable: false));
        Assert.Equal(Errno.EINVAL, refused.Error);
    }

    [Fact]
    public void Private_memory_is_zero_and_can_be_discarded()
    {
        using var memory = MappedMemory.AllocatePrivate(1L << 34);
        memory.Dispose();
        using var small = MappedMemory.AllocatePrivate(8192);
        Assert.Equal(0, small.Span[5]);
        small.Span.Fill(7);
        small.Discard(0, 4096);
        Assert.Equal((0, 7), (small.Span[0], small.Span[4096]));
    }

    [Fact]
    public void Signals_add_up_to_one_wake_up()
    {
        using var fd = EventFd.Create();
        Assert.False(fd.TryConsume());
        fd.Signal();
        fd.Signal();
        Assert.True(fd.Wait(Long, default));
        Assert.False(fd.Wait(TimeSpan.FromMilliseconds(1), default));
    }

    [Fact]
    public async Task A_waiter_is_woken_by_a_signal()
    {
        using var fd = EventFd.Create();
        var waiter = Task.Run(() => fd.Wait(Timeout.InfiniteTimeSpan, default));
        await Task.Delay(20);
        fd.Signal();
        Assert.True(await waiter);
    }

    [Fact]
    public async Task A_waiter_is_woken_by_its_token_and_can_wait_again()
    {
        using var fd = EventFd.Create();
        using (var cancelled = new CancellationTokenSource())
        {
            var waiter = Task.Run(() => fd.Wait(Timeout.InfiniteTimeSpan, cancelled.Token));
            await Task.Delay(20);
            await cancelled.CancelAsync();
            Assert.False(await waiter);
            Assert.False(fd.Wait(Timeout.InfiniteTimeSpan, cancelled.Token));
        }

        using var another = new CancellationTokenSource();
        Assert.False(fd.Wait(TimeSpan.FromMilliseconds(1), another.Token));
        fd.Signal();
        Assert.True(fd.Wait(Timeout.InfiniteTimeSpan, another.Token));
    }

    [Fact]
    public void A_signal_counts_even_under_a_cancelled_token()
    {
        using var fd = EventFd.Create();
        fd.Signal();
        Assert.True(fd.Wait(Long, new CancellationToken(canceled: true)));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public void A_peer_that_went_is_EPIPE_whatever_it_left_unread(int unread)
    {
        var (here, there) = UnixSocket.Pair();
        using (here)
        {
            for (var i = 0; i < unread; i++)
            {
                here.Send([1]);
            }

            there.Dispose();
            Assert.Equal(Errno.EPIPE, Assert.Throws<HypervisorException>(() => here.Send([2])).Error);
            Assert.Equal(Errno.EPIPE, Assert.Throws<HypervisorException>(() => here.Send([2])).Error);
        }
    }

    [Fact]
    public void Packets_keep_their_bounds()
    {
        var (a, b) = UnixSocket.Pair();
        using (a)
        using (b)
        {
            a.Send([1, 2, 3]);
            a.Send([4]);
            var buffer = new byte[10];
            Assert.Equal(3, b.Receive(buffer));
            Assert.Equal(1, b.Receive(buffer));
            a.Send(new byte[11]);
            Assert.Equal(Errno.EMSGSIZE, Assert.Throws<HypervisorException>(() => b.Receive(buffer)).Error);
            a.Dispose();
            Assert.Equal(0, b.Receive(buffer));
        }
    }

    [Fact]
    public void Descriptors_travel_with_a_packet()
    {
        var (a, b) = UnixSocket.Pair();
        using (a)
        using (b)
        {
            using var file = MemoryFile.Create("passed", 4096);
            using var fd = EventFd.Create();
            a.Send([1], [file.Handle, fd.Handle, file.Handle]);
            var received = new List<SafeFileHandle>();
            Assert.Equal(1, b.Receive(new byte[1], received));
            Assert.Equal(3, received.Count);
            using var adopted = MemoryFile.Adopt(received[0]);
            using var doorbell = EventFd.Adopt(received[1]);
            Assert.Equal(4096, adopted.Size);
            using var map = adopted.Map(0, 4096, writable: true);
            map.Span[7] = 9;
            using var own = file.Map(0, 4096, writable: false);
            Assert.Equal(9, own.Span[7]);
            doorbell.Signal();
            Assert.True(fd.TryConsume());
            received[2].Dispose();
        }
    }

    [Fact]
    public void Unwanted_descriptors_are_closed()
    {
        var (a, b) = UnixSocket.Pair();
        using (a)
        using (b)
        {
            using var passed = UnixSocketPairEnd(out var other);
            a.Send([1], [passed.Handle]);
            passed.Dispose();
            Assert.Equal(1, b.Receive(new byte[1]));

            // Had the copy stayed open, the other end would not see the end of the connection.
            Assert.Equal(0, other.Receive(new byte[1]));
            other.Dispose();
        }
    }

    [Fact]
    public void The_kernel_vouches_for_the_peer()
    {
        var (a, b) = UnixSocket.Pair();
        using (a)
        using (b)
        {
            Assert.Equal((Environment.ProcessId, UnixSocket.EffectiveUser), (a.GetPeer().Pid, a.GetPeer().Uid));
        }
    }

    [Fact]
    public void Paths_are_listened_at_and_connected_to()
    {
        var folder = Directory.CreateTempSubdirectory("introspect-");
        var path = Path.Combine(folder.FullName, "socket");
        using (var listener = UnixSocket.Listen(path, 4))
        {
            Assert.Equal(Errno.EADDRINUSE, Assert.Throws<HypervisorException>(() => UnixSocket.Listen(path, 4)).Error);
            using var client = UnixSocket.Connect(path);
            using var server = listener.Accept();
            client.Send([42]);
            var buffer = new byte[1];
            Assert.Equal(1, server!.Receive(buffer));
            Assert.Equal(42, buffer[0]);
            listener.Shutdown();
            Assert.Null(listener.Accept());
        }

        Assert.Equal(Errno.ECONNREFUSED, Assert.Throws<HypervisorException>(() => UnixSocket.Connect(path)).Error);
        folder.Delete(recursive: true);
        Assert.Equal(Errno.ENOENT, Assert.Throws<HypervisorException>(() => UnixSocket.Connect(path)).Error);
        Assert.Equal(Errno.EINVAL, Assert.Throws<HypervisorException>(() => UnixSocket.Connect(new string('x', 200))).Error);
    }

    private static UnixSocket UnixSocketPairEnd(out UnixSocket other)
    {
        (var one, other) = UnixSocket.Pair();
        return one;
    }
}
