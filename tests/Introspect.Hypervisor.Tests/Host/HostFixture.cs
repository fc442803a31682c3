using System.Collections.Concurrent;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Tests.Host;

/// <summary>A host on a path of its own, with a fake hypervisor behind it.</summary>
internal sealed class HostFixture : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("introspect-");

    public HostFixture(Func<PeerCredentials, bool>? permits = null, int maxClients = HostServer.DefaultMaxClients)
    {
        Path = System.IO.Path.Combine(_folder.FullName, "host");
        Server = new(Path, Hypervisor, Hypervisor, Log.Enqueue, permits, maxClients);
    }

    public string Path { get; }

    public FakeHypervisor Hypervisor { get; } = new();

    public ConcurrentQueue<string> Log { get; } = new();

    public HostServer Server { get; }

    /// <summary>Waits for something that another thread is about to do; a test that waits in vain fails.</summary>
    public static void Eventually(Func<bool> condition, string what) =>
        Assert.True(SpinWait.SpinUntil(condition, TimeSpan.FromMinutes(1)), what);

    public void Dispose()
    {
        Server.Dispose();
        Hypervisor.Dispose();
        _folder.Delete(recursive: true);
    }
}
