using System.Collections.Concurrent;
using System.Text;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Lab;

namespace Introspect.Hypervisor.Tests.Lab;

/// <summary>A keeper with a socket before it, and a client at the other end.</summary>
internal sealed class LabFixture : IDisposable
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly LabKeeper _keeper;
    private readonly HostServer _server;

    public LabFixture(string dumps = "dumps")
    {
        Folder = Directory.CreateTempSubdirectory("introspect-");
        Machine = new Machine(new MachineOptions(static d => new DomainPlatform(d, new PlatformOptions()), 1L << 34));
        var toolstack = new LocalToolstack(Machine, ToolstackCaller.Control);
        _keeper = new LabKeeper(Machine, toolstack, Log.Enqueue, PathOf(dumps));
        SocketPath = Path.Combine(Folder.FullName, "host");
        _server = new HostServer(SocketPath, toolstack, toolstack, Log.Enqueue, lab: _keeper);
        Hypervisor = CoreHypervisor.Connect(SocketPath);
    }

    public DirectoryInfo Folder { get; }

    public string SocketPath { get; }

    public Machine Machine { get; }

    public ConcurrentQueue<string> Log { get; } = new();

    public CoreHypervisor Hypervisor { get; }

    /// <summary>The client's side.</summary>
    public ILabControl Lab => Hypervisor.Lab!;

    public string PathOf(string name) => Path.Combine(Folder.FullName, name);

    public string WriteImage(byte[] image)
    {
        var path = PathOf("kernel");
        File.WriteAllBytes(path, image);
        return path;
    }

    /// <summary>All that a domain wrote, until its life is over.</summary>
    public (string Text, LabReport End) ReadToEnd(Guid uuid)
    {
        var text = new StringBuilder();
        var position = 0UL;
        var buffer = new byte[4096];
        while (true)
        {
            var count = Lab.FollowConsole(uuid, ref position, buffer, Patience, out var report);
            text.Append(Encoding.ASCII.GetString(buffer, 0, count));
            if (count == 0)
            {
                Assert.True(report.HasEnded, $"it did not end; console:\n{text}");
                return (text.ToString(), report);
            }
        }
    }

    public void Dispose()
    {
        Hypervisor.Dispose();
        _server.Dispose();
        _keeper.Dispose();
        Machine.Dispose();
        Folder.Delete(recursive: true);
    }
}
