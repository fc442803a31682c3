using System.Diagnostics;
using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Tests.Monitoring.Lab;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Forks;

/// <summary>
/// A real guest in 64-bit mode whose time is its instructions, so that two runs from one state are one run; forked by
/// tests through the seam.
/// </summary>
internal sealed class ForkLab : IDisposable
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly DomainUnderConstruction _built;
    private readonly HostServer? _server;
    private readonly string? _socket;

    public ForkLab(Action<Assembler> program, bool overSocket = false, uint vcpus = 1)
    {
        Machine = new Machine(new MachineOptions(
            static d => new DomainPlatform(d, new PlatformOptions { Clock = ClockSource.Instructions, World = new RepeatableWorld(1_700_000_000_000_000_000, 7) }),
            1L << 33));
        Toolstack = new LocalToolstack(Machine, ToolstackCaller.Control);
        _built = DomainUnderConstruction.Create(Toolstack, new DomainConfig { Name = "parent", MemoryBytes = LabMemory.Bytes, Vcpus = vcpus });
        LabMemory.Fill(_built, program);
        var state = LabMemory.FirstState(user: false);
        _built.Start(in state);
        if (overSocket)
        {
            _socket = Path.Combine(Path.GetTempPath(), $"introspect-{Guid.NewGuid():N}.sock");
            _server = new HostServer(_socket, Toolstack, Toolstack, static _ => { });
            Hypervisor = CoreHypervisor.Connect(_socket);
        }
        else
        {
            Hypervisor = new CoreHypervisor(Toolstack);
        }

        Parent = Hypervisor.Open(_built.Id);
    }

    public Machine Machine { get; }

    public LocalToolstack Toolstack { get; }

    public CoreHypervisor Hypervisor { get; }

    public IDomain Parent { get; }

    /// <summary>The hypervisor's own view of a domain.</summary>
    public Domain Inside(IDomain domain) => Machine.Find(domain.Id.Value)!;

    /// <summary>Lets the guest run to its first guest request, which nobody answers: there it stands.</summary>
    public IMonitor RunParentToRequest()
    {
        var monitor = Parent.EnableMonitor();
        monitor.Enable(new MonitorEvent.GuestRequest());
        _built.Unpause();
        Take(monitor, Inside(Parent));
        return monitor;
    }

    /// <summary>The next request, which is not answered.</summary>
    public static VmEvent Take(IMonitor monitor, Domain domain)
    {
        var watch = Stopwatch.StartNew();
        VmEvent request;
        while (!monitor.TryTake(out request))
        {
            Assert.True(watch.Elapsed < Patience && !domain.IsShutDown, $"no event came: {(domain.Vcpus.Count > 0 ? domain.Vcpus[0].Failure : null)}");
            monitor.Wait(TimeSpan.FromMilliseconds(1), CancellationToken.None);
        }

        return request;
    }

    public static void Respond(IMonitor monitor, in VmEvent response)
    {
        monitor.Respond(in response);
        monitor.Notify();
    }

    public static ulong Read(IDomain domain, ulong address)
    {
        Span<byte> bytes = stackalloc byte[8];
        domain.Memory.ReadPhysical(new GuestPhysical(address), bytes);
        return BitConverter.ToUInt64(bytes);
    }

    public static void Write(IDomain domain, ulong address, ulong value) =>
        domain.Memory.WritePhysical(new GuestPhysical(address), BitConverter.GetBytes(value));

    /// <summary>HVMOP_guest_request_vm_event.</summary>
    public static void GuestRequest(Assembler code)
    {
        code.mov(eax, (int)HypercallNumber.HvmOp);
        code.mov(edi, (int)HvmOp.GuestRequestVmEvent);
        code.xor(esi, esi);
        code.vmcall();
    }

    public void Dispose()
    {
        Parent.Dispose();
        Hypervisor.Dispose();
        _server?.Dispose();
        _built.Dispose();
        Machine.Dispose();
        if (_socket is not null)
        {
            File.Delete(_socket);
        }
    }
}
