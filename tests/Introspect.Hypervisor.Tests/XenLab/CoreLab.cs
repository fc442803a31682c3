using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.XenLab.Contract;

namespace Introspect.Hypervisor.Tests.XenLab;

/// <summary>The lab's guests on the core, in process or over a socket.</summary>
internal sealed class CoreLab : IContractLab
{
    private readonly Machine _machine = new(new MachineOptions(static d => new DomainPlatform(d, new PlatformOptions())));
    private readonly LocalToolstack _toolstack;
    private readonly HostServer? _server;
    private readonly string? _socket;
    private readonly Dictionary<DomainId, DomainUnderConstruction> _built = [];

    public CoreLab(CpuVendor vendor, bool overSocket)
    {
        Vendor = vendor;
        _toolstack = new LocalToolstack(_machine, ToolstackCaller.Control);
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
    }

    public IHypervisor Hypervisor { get; }

    public CpuVendor Vendor { get; }

    public DomainId Create(string name, byte[] image)
    {
        var built = DomainUnderConstruction.Create(_toolstack, new DomainConfig { Name = name, MemoryBytes = 16UL << 20, Vendor = Vendor });
        Assert.True(ElfImage.TryParse(image, out var elf, out var error), error?.Message);
        Assert.True(PvhLoader.TryLoad(elf, new PvhBootOptions(), built, out var entry, out error), error?.Message);
        built.Start(entry.ToVcpuState());
        var id = new DomainId(built.Id.Value);
        _built.Add(id, built);
        return id;
    }

    public void Start(DomainId domain) => _built[domain].Unpause();

    public void Destroy(DomainId domain)
    {
        if (_built.Remove(domain, out var built))
        {
            _machine.DestroyDomain(_machine.Find(domain.Value)!);
            built.Dispose();
        }
    }

    public void Dispose()
    {
        Hypervisor.Dispose();
        _server?.Dispose();
        foreach (var built in _built.Values)
        {
            built.Dispose();
        }

        _machine.Dispose();
        if (_socket is not null)
        {
            File.Delete(_socket);
        }
    }
}
