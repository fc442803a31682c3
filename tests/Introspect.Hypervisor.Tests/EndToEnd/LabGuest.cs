using System.Text;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Monitoring;

namespace Introspect.Hypervisor.Tests.EndToEnd;

/// <summary>A machine with one guest on it, reached in this process or over a socket.</summary>
internal sealed class LabGuest : IDisposable
{
    private readonly Machine _machine;
    private readonly LocalToolstack _toolstack;
    private readonly HostServer? _server;
    private readonly DomainUnderConstruction _built;
    private readonly string? _socket;

    public LabGuest(
        byte[] image,
        CpuVendor vendor = CpuVendor.Vmx,
        bool overSocket = false,
        int megabytes = 16,
        uint vcpus = 1,
        string? commandLine = null,
        PlatformOptions? platform = null,
        MonitoringOptions? monitoring = null)
    {
        _machine = new Machine(new MachineOptions(d => new DomainPlatform(d, platform ?? new PlatformOptions()))
        {
            Monitoring = monitoring ?? MonitoringOptions.Default,
        });
        _toolstack = new LocalToolstack(_machine, ToolstackCaller.Control);
        _built = DomainUnderConstruction.Create(_toolstack, new DomainConfig
        {
            Name = "guest",
            MemoryBytes = (ulong)megabytes << 20,
            Vendor = vendor,
            Vcpus = vcpus,
        });
        Assert.True(ElfImage.TryParse(image, out var elf, out var error), error?.Message);
        Assert.True(PvhLoader.TryLoad(elf, new PvhBootOptions(commandLine), _built, out var entry, out error), error?.Message);
        _built.Start(entry.ToVcpuState());
        if (overSocket)
        {
            _socket = Path.Combine(Path.GetTempPath(), $"introspect-{Guid.NewGuid():N}.sock");
            _server = new HostServer(_socket, _toolstack, _toolstack, static _ => { });
            Hypervisor = CoreHypervisor.Connect(_socket);
        }
        else
        {
            Hypervisor = new CoreHypervisor(_toolstack);
        }

        Domain = Hypervisor.Open(_built.Id);
    }

    public IHypervisor Hypervisor { get; }

    public IDomain Domain { get; }

    /// <summary>The hypervisor's own view.</summary>
    public Domain Inside => _machine.Find(_built.Id.Value)!;

    /// <summary>Path of the host's socket.</summary>
    public string Socket => _socket ?? throw new InvalidOperationException("This guest has no host.");

    /// <summary>Another client of the host.</summary>
    public CoreHypervisor Connect() => CoreHypervisor.Connect(_socket!);

    public void Start() => _built.Unpause();

    public bool HasEnded => Domain.GetInfo().State is DomainState.PowerOff or DomainState.Reboot or DomainState.Crash;

    public bool WaitForEnd(TimeSpan? timeout = null) => SpinWait.SpinUntil(() => HasEnded, timeout ?? TimeSpan.FromSeconds(60));

    public string Console()
    {
        var text = new StringBuilder();
        var position = 0UL;
        var buffer = new byte[4096];
        int count;
        while ((count = _toolstack.ReadConsole(_built.Id.Value, ref position, buffer)) > 0)
        {
            text.Append(Encoding.ASCII.GetString(buffer, 0, count));
        }

        return text.ToString();
    }

    /// <summary>A counter in the guest's memory, by its guest-physical address.</summary>
    public ulong ReadCounter(ulong gpa)
    {
        Span<byte> bytes = stackalloc byte[8];
        Domain.Memory.ReadPhysical(new GuestPhysical(gpa), bytes);
        return BitConverter.ToUInt64(bytes);
    }

    public bool CounterGoesOn(ulong gpa)
    {
        var before = ReadCounter(gpa);
        return SpinWait.SpinUntil(() => ReadCounter(gpa) > before + 1, TimeSpan.FromSeconds(30));
    }

    public void Dispose()
    {
        Domain.Dispose();
        Hypervisor.Dispose();
        _server?.Dispose();
        _built.Dispose();
        _machine.Dispose();
        if (_socket is not null)
        {
            File.Delete(_socket);
        }
    }
}
