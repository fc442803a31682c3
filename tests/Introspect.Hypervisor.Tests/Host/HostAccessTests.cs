using System.Runtime.InteropServices;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Tests.Host;

public partial class HostAccessTests
{
    [Theory]
    [InlineData(1000u, 1000u, true)]
    [InlineData(0u, 1000u, true)]
    [InlineData(1001u, 1000u, false)]
    [InlineData(1000u, 0u, false)]
    public void The_owner_and_root_may_control_domains(uint peer, uint owner, bool permitted) =>
        Assert.Equal(permitted, HostServer.OwnerOrRoot(new(1, peer, 100), owner));

    [Fact]
    public void A_stranger_gets_EPERM_and_the_owner_is_told_once()
    {
        var seen = new List<PeerCredentials>();
        using var host = new HostFixture(peer =>
        {
            seen.Add(peer);
            return false;
        });
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(Errno.EPERM, Assert.Throws<HypervisorException>(() => new HostClient(host.Path)).Error);
        }

        Assert.All(seen, static peer => Assert.Equal((Environment.ProcessId, UnixSocket.EffectiveUser), (peer.Pid, peer.Uid)));
        Assert.Equal(3, seen.Count);
        Assert.Single(host.Log);
        Assert.Equal(0, host.Server.ClientCount);
    }

    [RootFact]
    public void A_thread_of_another_user_is_refused_by_what_the_kernel_says_of_it()
    {
        using var host = new HostFixture();
        OpenToAll(Path.GetDirectoryName(host.Path)!, UnixFileMode.GroupExecute | UnixFileMode.OtherExecute);
        var knocked = ConnectAsNobody(host.Path);

        // Its mode keeps a stranger from the socket; where somebody opened that, the credentials do.
        OpenToAll(host.Path, UnixFileMode.GroupWrite | UnixFileMode.OtherWrite);
        var entered = ConnectAsNobody(host.Path);
        Assert.Equal((Errno.EACCES, Errno.EPERM), (knocked, entered));
        Assert.Contains("user 65534", Assert.Single(host.Log), StringComparison.Ordinal);
    }

    [Fact]
    public void One_client_too_many_gets_EBUSY_until_another_goes()
    {
        using var host = new HostFixture(maxClients: 1);
        using (var first = new HostClient(host.Path))
        {
            Assert.Equal(Errno.EBUSY, Assert.Throws<HypervisorException>(() => new HostClient(host.Path)).Error);
            Assert.Equal("größe", first.GetDomainName(1));
        }

        HostFixture.Eventually(() => host.Server.ClientCount == 0, "the place is free again");
        using var second = new HostClient(host.Path);
        Assert.Equal("größe", second.GetDomainName(1));
    }

    [Fact]
    public void Only_the_owner_may_knock()
    {
        using var host = new HostFixture();
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, Mode(host.Path));
    }

    [Fact]
    public void A_second_host_at_the_same_path_is_refused_and_the_first_lives()
    {
        using var host = new HostFixture();
        var refused = Assert.Throws<HypervisorException>(() => new HostServer(host.Path, host.Hypervisor, host.Hypervisor, static _ => { }));
        Assert.Equal(Errno.EADDRINUSE, refused.Error);
        using var client = new HostClient(host.Path);
        Assert.Equal("größe", client.GetDomainName(1));
    }

    [Fact]
    public void A_dead_hosts_socket_is_replaced_and_a_file_is_not()
    {
        var folder = Directory.CreateTempSubdirectory("introspect-");
        var path = Path.Combine(folder.FullName, "host");
        UnixSocket.Listen(path, 1).Dispose();
        Assert.True(File.Exists(path));
        using var hypervisor = new FakeHypervisor();
        using (new HostServer(path, hypervisor, hypervisor, static _ => { }))
        {
            using var client = new HostClient(path);
            Assert.Equal("größe", client.GetDomainName(1));
        }

        Assert.False(File.Exists(path));
        File.WriteAllText(path, "precious");
        Assert.Throws<HypervisorException>(() => new HostServer(path, hypervisor, hypervisor, static _ => { }));
        Assert.Equal("precious", File.ReadAllText(path));
        folder.Delete(recursive: true);
    }

    [Fact]
    public void Something_else_that_listens_is_no_host()
    {
        var folder = Directory.CreateTempSubdirectory("introspect-");
        var path = Path.Combine(folder.FullName, "other");
        using (var listener = UnixSocket.Listen(path, 1))
        {
            var stranger = new Thread(() =>
            {
                using var peer = listener.Accept();
                peer!.Send("220 hello there, stranger"u8[..HostProtocol.GreetingBytes]);
                peer.Receive(new byte[1]);
            });
            stranger.Start();
            Assert.Equal(Errno.EBADMSG, Assert.Throws<HypervisorException>(() => new HostClient(path)).Error);
            stranger.Join();
        }

        folder.Delete(recursive: true);
    }

    private static Errno ConnectAsNobody(string path)
    {
        const int SetResUid = 117;
        const int Nobody = 65534;
        var refusal = Errno.None;
        var stranger = new Thread(() =>
        {
            // The bare system call changes this one thread, which ends here.
            if (SystemCall(SetResUid, Nobody, Nobody, Nobody) == 0)
            {
                try
                {
                    new HostClient(path).Dispose();
                }
                catch (HypervisorException refused)
                {
                    refusal = refused.Error;
                }
            }
        });
        stranger.Start();
        stranger.Join();
        return refusal;
    }

    private static void OpenToAll(string path, UnixFileMode more)
    {
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(path, File.GetUnixFileMode(path) | more);
        }
    }

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long SystemCall(long number, long first, long second, long third);

    private static UnixFileMode Mode(string path) =>
        OperatingSystem.IsWindows() ? UnixFileMode.None : File.GetUnixFileMode(path);
}

/// <summary>A test that only root can run, and that is told to be skipped elsewhere.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class RootFactAttribute : FactAttribute
{
    public RootFactAttribute() => Skip = UnixSocket.EffectiveUser == 0 ? null : "only root can become another user";
}
