using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Tests.House;

namespace Introspect.Hypervisor.Tests.Execution;

public sealed class VcpuInterruptTests
{
    [Fact]
    public void An_NMI_comes_before_the_callback_vector_and_that_before_the_APIC()
    {
        using var domain = new ApicDomain();
        domain.Apic.Request(0x71);
        domain.RaiseUpcall(callbackVector: 0x30);
        domain.Runner.RaiseNmi();
        domain.Enter();
        Assert.Equal("Nmi 2", domain.TakePending());
        Assert.Equal(Intercepts.InterruptWindow, domain.Windows);
        domain.Enter();
        Assert.Equal("ExternalInterrupt 30", domain.TakePending());
        Assert.Equal(Intercepts.InterruptWindow, domain.Windows); // the APIC's request waits behind it
        domain.Platform.SharedInfo[0] = 0;
        domain.Enter();
        Assert.Equal("ExternalInterrupt 71", domain.TakePending());
        Assert.Equal(Intercepts.None, domain.Windows);
        domain.Enter();
        Assert.Equal("", domain.TakePending());
    }

    [Fact]
    public void The_callback_vector_goes_past_the_APIC()
    {
        using var domain = new ApicDomain();
        domain.Apic.Cr8 = 15;
        domain.RaiseUpcall(callbackVector: 0x30);
        Assert.False(domain.Apic.HasRequests);
        domain.Enter();
        Assert.Equal("ExternalInterrupt 30", domain.TakePending());
    }

    [Fact]
    public void The_upcall_vector_of_a_vCPU_goes_through_the_APIC()
    {
        using var domain = new ApicDomain();
        domain.Runner.ChooseUpcallVector(0xF3);
        Assert.True(domain.Apic.HasRequests); // as on Xen, choosing it asserts it
        domain.Enter();
        Assert.Equal("ExternalInterrupt f3", domain.TakePending());
        domain.RaiseUpcall(callbackVector: 0);
        domain.Enter();
        Assert.Equal("", domain.TakePending()); // it is in service
        domain.Apic.WriteMemory(0xFEE0_00B0, 4, 0);
        domain.Enter();
        Assert.Equal("ExternalInterrupt f3", domain.TakePending());
    }

    [Fact]
    public void An_upcall_that_the_APIC_could_not_take_comes_when_it_is_enabled()
    {
        using var domain = new ApicDomain();
        domain.Apic.WriteMemory(0xFEE0_00F0, 4, 0xFF);
        domain.Runner.ChooseUpcallVector(0xF3);
        domain.RaiseUpcall(callbackVector: 0);
        domain.Enter();
        Assert.Equal("", domain.TakePending());
        domain.Enable(0);
        domain.Enter();
        Assert.Equal("ExternalInterrupt f3", domain.TakePending());
    }

    [Fact]
    public void What_cannot_be_taken_yet_gets_a_window_and_what_the_priority_holds_back_gets_none()
    {
        using var domain = new ApicDomain();
        domain.Apic.Request(0x71);
        domain.Enter(interruptible: false);
        Assert.Equal("", domain.TakePending());
        Assert.Equal(Intercepts.InterruptWindow, domain.Windows);
        domain.Apic.Cr8 = 7;
        domain.Enter();
        Assert.Equal("", domain.TakePending());
        Assert.Equal(Intercepts.None, domain.Windows);
        domain.Apic.Cr8 = 6;
        domain.Enter();
        Assert.Equal("ExternalInterrupt 71", domain.TakePending());
    }

    [Fact]
    public void An_interrupt_does_not_take_the_place_of_an_exception()
    {
        using var domain = new ApicDomain();
        domain.Apic.Request(0x71);
        domain.Runner.Cpu.Raise(Vector.InvalidOpcode);
        domain.Enter();
        Assert.Equal("HardwareException 6", domain.TakePending());
        Assert.Equal(Intercepts.InterruptWindow, domain.Windows);
        domain.Enter();
        Assert.Equal("ExternalInterrupt 71", domain.TakePending());
    }

    [Fact]
    public void A_second_NMI_waits_for_the_first_ones_IRET_and_holds_interrupts_back()
    {
        using var domain = new ApicDomain();
        domain.Runner.State.Shadow = CpuShadow.Nmi;
        domain.Runner.RaiseNmi();
        domain.Runner.RaiseNmi();
        domain.Apic.Request(0x71);
        domain.Enter();
        Assert.Equal("", domain.TakePending());
        Assert.Equal(Intercepts.NmiWindow, domain.Windows);
        domain.Runner.State.Shadow = CpuShadow.None;
        domain.Enter();
        Assert.Equal("Nmi 2", domain.TakePending());
        domain.Enter();
        Assert.Equal("ExternalInterrupt 71", domain.TakePending()); // two NMIs are one
    }

    [Fact]
    public void Nothing_interrupts_a_step_of_the_monitors()
    {
        using var domain = new ApicDomain();
        domain.Runner.RaiseNmi();
        domain.Apic.Request(0x71);
        ToggleStep();
        domain.Enter();
        Assert.Equal("", domain.TakePending());
        Assert.Equal(Intercepts.None, domain.Windows);
        ToggleStep();
        domain.Enter();
        Assert.Equal("Nmi 2", domain.TakePending());

        void ToggleStep()
        {
            var vcpu = domain.Domain.Vcpus[0];
            vcpu.VmEventPause();
            domain.Runner.ApplyResponse(new VmEvent { Flags = VmEventFlags.VcpuPaused | VmEventFlags.ToggleSinglestep });
            vcpu.VmEventUnpause();
        }
    }

    [Fact]
    public void Nothing_is_taken_before_the_monitor_answered()
    {
        using var domain = new ApicDomain();
        domain.Apic.Request(0x71);
        domain.Domain.Vcpus[0].VmEventPause();
        domain.Enter();
        Assert.Equal("", domain.TakePending());
        Assert.True(domain.Apic.HasRequests);
        domain.Domain.Vcpus[0].VmEventUnpause();
        domain.Enter();
        Assert.Equal("ExternalInterrupt 71", domain.TakePending());
    }

    [Fact]
    public void A_request_ends_a_wait()
    {
        using var domain = new ApicDomain();
        var vcpu = domain.Domain.Vcpus[0];
        domain.Runner.Block();
        Assert.Equal(VcpuPauseFlags.Blocked, vcpu.Flags);
        domain.Apic.Request(0x71);
        Assert.Equal(VcpuPauseFlags.None, vcpu.Flags);
        domain.Runner.Block(); // it is still there
        Assert.Equal(VcpuPauseFlags.None, vcpu.Flags);
        domain.Apic.Cr8 = 7;
        domain.Runner.Block(); // and would not interrupt
        Assert.Equal(VcpuPauseFlags.Blocked, vcpu.Flags);
        domain.Runner.RaiseNmi();
        Assert.Equal(VcpuPauseFlags.None, vcpu.Flags);
    }

    [Fact]
    public void The_APIC_is_where_devices_are_and_nowhere_else()
    {
        using var domain = new ApicDomain();
        Assert.True(domain.Runner.ReadDevice(0xFEE0_0030, 4, out var version));
        Assert.Equal(0x0005_0014UL, version);
        Assert.True(domain.Runner.WriteDevice(0xFEE0_0080, 4, 0x30));
        Assert.Equal(3UL, domain.Apic.Cr8);
        Assert.False(domain.Runner.ReadDevice(0xFEE0_1000, 4, out var floating));
        Assert.Equal(~0UL, floating);
        Assert.False(domain.Runner.WriteDevice(0xFEDF_FFFC, 4, 0));
    }

    [Fact]
    public void Entering_with_and_without_an_interrupt_allocates_nothing()
    {
        using var domain = new ApicDomain();
        Assert.Equal(0, Allocation.LeastOf(() =>
        {
            for (var n = 0; n < 100; n++)
            {
                domain.Apic.Request(0x71);
                domain.Enter();
                domain.Runner.State.Pending = default;
                domain.Runner.WriteDevice(0xFEE0_00B0, 4, 0);
                domain.Enter();
            }
        }));
    }

    [Fact]
    public void Without_its_emulation_there_is_no_APIC()
    {
        using var machine = new Machine(new MachineOptions(static d => new DomainPlatform(d, new PlatformOptions())));
        var domain = machine.CreateDomain(0, new DomctlCreateDomain { MaxVcpus = 1 }, CpuVendor.Vmx);
        domain.CreateVcpus();
        var platform = (DomainPlatform)domain.Platform;
        var runner = (VcpuRunner)domain.Vcpus[0].Runner;
        Assert.Null(platform.Apics);
        Assert.Null(runner.Apic);
        Assert.False(platform.Policy.Has(CpuFeature.Apic));
        Assert.False(platform.Policy.Has(CpuFeature.X2Apic));
        Assert.Equal(0u, platform.Policy.Query(1, 0, new CpuidVcpuState { ApicEnabled = true }).Edx & (1u << 9));
        Assert.False(runner.ReadDevice(0xFEE0_0030, 4, out _));
        runner.ChooseUpcallVector(0xF3);
        Assert.DoesNotContain(domain.ContextSections, static section => section.TypeCode == HvmSaveCode.Lapic);
    }
}
