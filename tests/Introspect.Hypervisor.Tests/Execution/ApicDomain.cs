using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Platform.Apic;

namespace Introspect.Hypervisor.Tests.Execution;

/// <summary>A domain with the real platform that stays paused, so that a test is on its vCPUs' side.</summary>
internal sealed class ApicDomain : IDisposable
{
    private readonly Machine _machine = new(new MachineOptions(static domain => new DomainPlatform(domain, new PlatformOptions())));

    public ApicDomain(uint vcpus = 1)
    {
        using var built = DomainUnderConstruction.Create(
            new LocalToolstack(_machine, ToolstackCaller.Control), new DomainConfig { MemoryBytes = 2 << 20, Vcpus = vcpus });
        built.Start(new PvhEntryState(0x10_0000, 0).ToVcpuState());
        Domain = _machine.Find(built.Id.Value)!;
        Enable(0);
    }

    public Domain Domain { get; }

    public DomainPlatform Platform => (DomainPlatform)Domain.Platform;

    public VcpuRunner Runner => At(0);

    public LocalApic Apic => Runner.Apic!;

    public VcpuRunner At(int vcpu) => (VcpuRunner)Domain.Vcpus[vcpu].Runner;

    public void Enable(int vcpu) => At(vcpu).Apic!.WriteMemory(0xFEE0_00F0, 4, 0x1FF);

    /// <summary>Lets the vCPU take interrupts, and prepares its next entry.</summary>
    public void Enter(bool interruptible = true)
    {
        Runner.Rflags = interruptible ? 0x202u : 2u;
        Runner.BeforeEntry();
    }

    /// <summary>What the next entry would deliver, and takes it away.</summary>
    public string TakePending()
    {
        ref var pending = ref Runner.State.Pending;
        var text = pending.Valid ? $"{pending.Type} {pending.Vector:x}" : "";
        pending = default;
        return text;
    }

    public Core.Cpu.Intercepts Windows =>
        Runner.State.Intercepts & (Core.Cpu.Intercepts.InterruptWindow | Core.Cpu.Intercepts.NmiWindow);

    /// <summary>An event channel upcall is due on the first vCPU, by the domain's callback vector or otherwise.</summary>
    public void RaiseUpcall(byte callbackVector)
    {
        if (callbackVector != 0)
        {
            Domain.SetParam(HvmParam.CallbackIrq, (HvmParam.CallbackTypeVector << HvmParam.CallbackTypeShift) | callbackVector);
        }

        Platform.SharedInfo[0] = 1;
        Platform.Upcall(0);
    }

    public void Dispose() => _machine.Dispose();
}
