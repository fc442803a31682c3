using Iced.Intel;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Building.Demo;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;

namespace Introspect.Benchmarks.Ring;

/// <summary>A machine with one guest of a few instructions on it, reached in this process or over a socket.</summary>
internal sealed class RingGuest : IDisposable
{
    private const ulong LoadAddress = 0x10_0000;
    private const ulong MemoryBytes = 16 << 20;

    private readonly Machine _machine;
    private readonly LocalToolstack _toolstack;
    private readonly DomainUnderConstruction _built;
    private readonly HostServer? _server;
    private readonly string? _socket;
    private readonly CoreHypervisor _hypervisor;

    /// <param name="write">The guest's code, 32-bit, flat, without paging.</param>
    /// <param name="overSocket">Reach it as a monitor in another process does.</param>
    /// <param name="vcpus">vCPUs, which all run the same code.</param>
    public RingGuest(Action<Assembler> write, bool overSocket, uint vcpus = 1)
    {
        _machine = new Machine(new MachineOptions(static d => new DomainPlatform(d, new PlatformOptions())));
        _toolstack = new LocalToolstack(_machine, ToolstackCaller.Control);
        _built = DomainUnderConstruction.Create(_toolstack, new DomainConfig { Name = "benchmark", MemoryBytes = MemoryBytes, Vcpus = vcpus, Vendor = CpuVendor.Vmx });
        if (!ElfImage.TryParse(Assemble(write), out var elf, out var error)
            || !PvhLoader.TryLoad(elf, new PvhBootOptions(), _built, out var entry, out error))
        {
            throw new InvalidOperationException(error.Message);
        }

        _built.Start(entry.ToVcpuState());
        for (var vcpu = 1; vcpu < vcpus; vcpu++)
        {
            BringUp(_machine.Find(_built.Id.Value)!, vcpu);
        }

        if (overSocket)
        {
            _socket = Path.Combine(Path.GetTempPath(), $"introspect-{Guid.NewGuid():N}.sock");
            _server = new HostServer(_socket, _toolstack, _toolstack, static _ => { });
            _hypervisor = CoreHypervisor.Connect(_socket);
        }
        else
        {
            _hypervisor = new CoreHypervisor(_toolstack);
        }

        Domain = _hypervisor.Open(_built.Id);
    }

    public IDomain Domain { get; }

    public void Start() => _built.Unpause();

    public void Dispose()
    {
        Domain.Dispose();
        _hypervisor.Dispose();
        _server?.Dispose();
        _built.Dispose();
        _machine.Dispose();
        if (_socket is not null)
        {
            File.Delete(_socket);
        }
    }

    // As VCPUOP_initialise does, with the entry's state: these guests make no hypercalls.
    private static void BringUp(Domain domain, int number)
    {
        var vcpu = domain.Vcpus[number];
        var runner = (VcpuRunner)vcpu.Runner;
        const uint Flat = ~0u;
        const ushort Code = 0xC9B, Data = 0xC93, Task = 0x8B;
        VcpuInitialState.Load(runner.Cpu, new VcpuHvmContext
        {
            X86_32 = new VcpuHvmX86_32
            {
                Eip = (uint)LoadAddress,
                Eflags = 2,
                Cr0 = 0x11,
                CsLimit = Flat,
                DsLimit = Flat,
                SsLimit = Flat,
                EsLimit = Flat,
                TrLimit = 0x67,
                CsAr = Code,
                DsAr = Data,
                SsAr = Data,
                EsAr = Data,
                TrAr = Task,
            },
        });
        runner.StateReplaced();
        vcpu.IsInitialised = true;
        vcpu.ClearFlag(VcpuPauseFlags.Down);
    }

    private static byte[] Assemble(Action<Assembler> write)
    {
        var assembler = new Assembler(32);
        write(assembler);
        using var code = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(code), LoadAddress);
        return DemoElf.Write(code.ToArray(), LoadAddress, LoadAddress + 0x1000, (uint)LoadAddress, []);
    }
}
