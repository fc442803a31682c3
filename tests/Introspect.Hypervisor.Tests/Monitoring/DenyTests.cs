using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Tests.Monitoring.Lab;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Monitoring;

/// <summary>DENY of register writes, and what becomes of writes that wait for a response.</summary>
public sealed class DenyTests
{
    private const ulong FirstCr0 = 0x80050033, FirstCr4 = 0x620, Wp = 1 << 16, Pge = 1 << 7;
    private const uint Lstar = 0xC0000082;

    public static TheoryData<string, CpuVendor> Deniable
    {
        get
        {
            var data = new TheoryData<string, CpuVendor>();
            foreach (var what in new[] { "cr0", "cr3", "cr4", "msr", "lmsw" })
            {
                data.Add(what, CpuVendor.Vmx);
                data.Add(what, CpuVendor.Svm);
            }

            data.Add("clts", CpuVendor.Svm);
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Deniable))]
    public void A_denied_write_is_neither_done_nor_half_done(string what, CpuVendor vendor)
    {
        using var lab = Lab(what, vendor);
        lab.Monitor.ControlRegisters();
        Enable(lab, what);
        var before = Snapshot(lab);
        lab.Run(Deny);
        Assert.Single(lab.Events);
        Assert.Equal(before, Snapshot(lab));

        // The instruction is over, and the program went on to its end.
        Assert.Equal(0x5AUL, lab.Read(LabMemory.Data));
        Assert.Equal(0, lab.Faults.Total);
    }

    [Theory]
    [MemberData(nameof(Deniable))]
    public void Without_control_registers_deny_is_ignored_and_counted(string what, CpuVendor vendor)
    {
        using var lab = Lab(what, vendor);
        Enable(lab, what);
        var before = Snapshot(lab);
        lab.Run(Deny);
        Assert.NotEqual(before, Snapshot(lab));
        Assert.Equal(1, lab.Faults[AnswerFault.IgnoredDeny]);
        Assert.Equal(1, lab.Faults.Total);
    }

    [Theory]
    [InlineData("xcr0", CpuVendor.Vmx)]
    [InlineData("xcr0", CpuVendor.Svm)]
    [InlineData("clts", CpuVendor.Vmx)]
    public void Xcr0_and_the_clts_of_vmx_are_written_whatever_the_answer(string what, CpuVendor vendor)
    {
        using var lab = Lab(what, vendor);
        lab.Monitor.ControlRegisters();
        Enable(lab, what);
        var before = Snapshot(lab);
        lab.Run(Deny);
        Assert.NotEqual(before, Snapshot(lab));
        Assert.Equal(1, lab.Faults[AnswerFault.IgnoredDeny]);
    }

    [Fact]
    public void An_async_write_is_done_whole_and_its_deny_is_ignored_and_counted()
    {
        foreach (var controlled in new[] { false, true })
        {
            using var lab = new EventLab(Program("cr4"));
            if (controlled)
            {
                lab.Monitor.ControlRegisters();
            }

            lab.Monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4, Sync: false));
            lab.Run(Deny);
            Assert.Equal(FirstCr4 | Pge, lab.Registers.Cr4);
            Assert.Equal(1, lab.Faults[AnswerFault.IgnoredDeny]);
            Assert.Equal(1, lab.Faults[AnswerFault.NotWaiting]);
        }
    }

    [Fact]
    public void A_write_that_waits_is_not_done_before_its_response()
    {
        using var lab = new EventLab(Program("cr0"));
        lab.Monitor.ControlRegisters();
        Enable(lab, "cr0");
        var request = lab.RunToEvent();
        lab.Vcpu.WaitUntilStopped();
        Assert.Equal(FirstCr0, lab.Registers.Cr0);
        lab.Respond(EventLab.Echo(in request));
        lab.Run();
        Assert.Equal(FirstCr0 & ~Wp, lab.Registers.Cr0);
    }

    [Fact]
    public void Without_control_registers_the_write_is_done_before_the_response()
    {
        using var lab = new EventLab(Program("cr0"));
        Enable(lab, "cr0");
        var request = lab.RunToEvent();
        lab.Vcpu.WaitUntilStopped();
        Assert.Equal(FirstCr0 & ~Wp, lab.Registers.Cr0);
        lab.Respond(EventLab.Echo(in request));
        lab.Run();
    }

    [Fact]
    public void A_deferred_write_that_turns_out_invalid_is_a_general_protection_fault_at_resume()
    {
        // Write-through without cache disable: nothing looks at it before the event.
        var after = 0UL;
        using var lab = new EventLab(code =>
        {
            code.mov(rax, cr0);
            code.bts(rax, 29);
            code.mov(cr0, rax);
            code.hlt();
        });
        lab.Monitor.ControlRegisters();
        Enable(lab, "cr0");
        lab.Run((int _, in VmEvent request, ref VmEvent response) => after = request.Registers.Rip + 3);
        Assert.Single(lab.Events);
        Assert.Equal(1UL, lab.Taken(13));
        Assert.Equal(0UL, lab.ErrorCodeOf(13));

        // As on Xen, RIP went on when the write was put off.
        Assert.Equal(after, lab.TakenAt(13));
        Assert.Equal(FirstCr0, lab.Registers.Cr0);
    }

    [Fact]
    public void A_deferred_write_of_an_msr_that_turns_out_invalid_is_one_too()
    {
        using var lab = new EventLab(code =>
        {
            code.mov(ecx, Lstar);
            code.mov(edx, 0x12345678); // not canonical
            code.wrmsr();
            code.hlt();
        });
        lab.Monitor.ControlRegisters();
        lab.Monitor.Enable(new MonitorEvent.Msr(Lstar));
        lab.Run();
        Assert.Single(lab.Events);
        Assert.Equal(1UL, lab.Taken(13));
    }

    [Fact]
    public void A_write_that_waits_when_the_monitor_goes_is_done()
    {
        using var lab = new EventLab(Program("cr4"));
        lab.Monitor.ControlRegisters();
        Enable(lab, "cr4");
        lab.RunToEvent();
        lab.Monitor.Dispose();
        lab.WaitForEnd();
        Assert.Equal(FirstCr4 | Pge, lab.Registers.Cr4);
    }

    [Fact]
    public void A_write_that_waits_when_the_ring_is_disabled_is_done_when_the_vcpu_goes_on()
    {
        using var lab = new EventLab(Program("cr4"));
        lab.Monitor.ControlRegisters();
        Enable(lab, "cr4");
        lab.RunToEvent();
        lab.Vcpu.WaitUntilStopped();
        Assert.Equal(Errno.None, lab.Ring(VmEventOperation.Disable));
        Assert.Equal(FirstCr4, lab.Registers.Cr4);
        lab.Domain.Recover();
        lab.WaitForEnd();
        Assert.Equal(FirstCr4 | Pge, lab.Registers.Cr4);
    }

    private static EventLab Lab(string what, CpuVendor vendor)
    {
        var lab = new EventLab(Program(what), vendor);
        if (what == "clts")
        {
            lab.Registers.Cr0 |= 8; // there is something to clear
        }

        return lab;
    }

    private static void Deny(int number, in VmEvent request, ref VmEvent response) => response.Flags |= VmEventFlags.Deny;

    private static void Enable(EventLab lab, string what) => lab.Monitor.Enable(what switch
    {
        "cr3" => new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3),
        "cr4" => new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4),
        "xcr0" => new MonitorEvent.ControlRegister(ControlRegisterIndex.Xcr0),
        "msr" => new MonitorEvent.Msr(Lstar),
        _ => new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0),
    });

    private static string Snapshot(EventLab lab)
    {
        ref var state = ref lab.Registers;
        return $"{state.Cr0:x} {state.Cr3:x} {state.Cr4:x} {state.Efer:x} {state.Lstar:x} {state.Xcr0:x} {state.Mode & ~CpuMode.User}";
    }

    private static Action<Assembler> Program(string what) => code =>
    {
        switch (what)
        {
            case "cr0":
                code.mov(rax, cr0);
                code.xor(rax, (int)Wp);
                code.mov(cr0, rax);
                break;
            case "cr3":
                code.mov(eax, (int)LabMemory.OtherPml4);
                code.mov(cr3, rax);
                break;
            case "cr4":
                code.mov(rax, cr4);
                code.or(rax, (int)Pge);
                code.mov(cr4, rax);
                break;
            case "lmsw":
                code.mov(eax, 0xB);
                code.lmsw(ax);
                break;
            case "clts":
                code.clts();
                break;
            case "xcr0":
                code.mov(rax, cr4);
                code.bts(rax, 18);
                code.mov(cr4, rax);
                code.xor(ecx, ecx);
                code.xor(edx, edx);
                code.mov(eax, 3);
                code.xsetbv();
                break;
            default:
                code.mov(ecx, Lstar);
                code.mov(eax, 0x1000);
                code.xor(edx, edx);
                code.wrmsr();
                break;
        }

        code.mov(__qword_ptr[(long)LabMemory.Data], 0x5A);
        code.hlt();
    };
}
