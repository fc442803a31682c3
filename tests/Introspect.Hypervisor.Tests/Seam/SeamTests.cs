using System.Collections.Concurrent;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Host;

namespace Introspect.Hypervisor.Tests.Seam;

/// <summary>The seam on domains in this process.</summary>
public sealed class InProcessSeamTests : SeamContract
{
    public InProcessSeamTests() => Hypervisor = new CoreHypervisor(Lab.Toolstack);

    private protected override IHypervisor Hypervisor { get; }

    [Fact]
    public void It_says_what_it_is() => Assert.Equal(new HypervisorInfo("core", "4.17", "in-process"), Hypervisor.Info);
}

/// <summary>The seam on a host's domains, behind a socket.</summary>
public sealed class SocketSeamTests : SeamContract
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("introspect-");
    private readonly ConcurrentQueue<string> _log = new();
    private readonly HostServer _server;

    public SocketSeamTests()
    {
        var path = Path.Combine(_folder.FullName, "host");
        var toolstack = Lab.Toolstack;
        _server = new HostServer(path, toolstack, toolstack, _log.Enqueue);
        Hypervisor = CoreHypervisor.Connect(path);
    }

    private protected override IHypervisor Hypervisor { get; }

    [Fact]
    public void It_says_where_it_is() => Assert.Equal(("core", _server.Path), (Hypervisor.Info.Name, Hypervisor.Info.Connection));

    private protected override void Cleanup()
    {
        base.Cleanup();
        _server.Dispose();
        _folder.Delete(recursive: true);
        Assert.Empty(_log);
    }
}
