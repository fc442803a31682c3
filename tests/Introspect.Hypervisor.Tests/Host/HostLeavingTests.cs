using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Tests.Host;

/// <summary>A host that goes while others come: to it, or to its path.</summary>
public class HostLeavingTests
{
    [Fact]
    public void A_host_that_goes_leaves_the_socket_of_another_one()
    {
        using var host = new HostFixture();
        File.Delete(host.Path);
        using var hypervisor = new FakeHypervisor();
        using var other = new HostServer(host.Path, hypervisor, hypervisor, host.Log.Enqueue);
        host.Server.Dispose();
        using var client = new HostClient(host.Path);
        Assert.Equal((1, Environment.ProcessId), (other.ClientCount, client.HostProcess));
        Assert.Empty(host.Log);
    }

    [Fact]
    public void Who_comes_while_an_empty_host_closes_finds_none_and_the_path_free_for_another()
    {
        using var host = new HostFixture();
        UnixSocket? newcomer = null;
        Assert.True(host.Server.TryClose(() =>
        {
            newcomer = UnixSocket.Connect(host.Path);
            return false;
        }));
        using (newcomer)
        {
            Assert.Equal(0, newcomer!.Receive(new byte[64]));
        }

        Assert.False(File.Exists(host.Path));
        using var hypervisor = new FakeHypervisor();
        using var other = new HostServer(host.Path, hypervisor, hypervisor, host.Log.Enqueue);
        host.Server.Dispose();
        using var client = new HostClient(host.Path);
        Assert.Empty(host.Log);
    }

    [Fact]
    public void A_host_that_is_in_use_does_not_close()
    {
        using var host = new HostFixture();
        Assert.False(host.Server.TryClose(static () => true));
        using (var client = new HostClient(host.Path))
        {
            Assert.False(host.Server.TryClose(static () => false));
            Assert.Equal("größe", client.GetDomainName(1));
        }

        HostFixture.Eventually(() => host.Server.TryClose(static () => false), "nobody is connected");
        Assert.True(host.Server.TryClose(static () => true));
        Assert.Equal(Errno.ENOENT, Assert.Throws<HypervisorException>(() => new HostClient(host.Path)).Error);
    }

    [Fact]
    public void A_host_that_hangs_up_before_its_greeting_is_none()
    {
        using var folder = new HostFixture();
        var path = folder.Path + "2";
        using var listener = UnixSocket.Listen(path, backlog: 1);
        var acceptor = new Thread(() => listener.Accept()!.Dispose());
        acceptor.Start();
        Assert.Equal(Errno.ENOTCONN, Assert.Throws<HypervisorException>(() => new HostClient(path)).Error);
        acceptor.Join();
    }

    [Fact]
    public void Of_hosts_that_race_for_an_abandoned_socket_one_listens_and_can_be_reached()
    {
        const int Rounds = 25;
        using var folder = new HostFixture();
        var path = folder.Path + "2";
        for (var round = 0; round < Rounds; round++)
        {
            // Left behind, as by a host that was killed.
            UnixSocket.Listen(path, backlog: 1).Dispose();
            var hosts = new HostServer?[3];
            var refusals = new Errno[hosts.Length];
            using var start = new Barrier(hosts.Length);
            var threads = Enumerable.Range(0, hosts.Length).Select(n => new Thread(() =>
            {
                start.SignalAndWait();
                try
                {
                    hosts[n] = new HostServer(path, folder.Hypervisor, folder.Hypervisor, folder.Log.Enqueue);
                }
                catch (HypervisorException refused)
                {
                    refusals[n] = refused.Error;
                }
            })).ToList();
            threads.ForEach(static thread => thread.Start());
            threads.ForEach(static thread => thread.Join());
            using (var winner = Assert.Single(hosts, static host => host is not null)!)
            {
                Assert.Equal(hosts.Length - 1, refusals.Count(static error => error == Errno.EADDRINUSE));
                using var client = new HostClient(path);
                HostFixture.Eventually(() => winner.ClientCount == 1, "it is the one that can be reached");
            }

            Assert.False(File.Exists(path));
        }
    }
}
