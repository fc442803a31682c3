using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Tests.Monitoring.Lab;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Monitoring;

/// <summary>MEM_ACCESS: the access types, what an event tells, and what happens when nobody listens.</summary>
public sealed class MemoryEventTests
{
    private const MemAccessFlags Read = MemAccessFlags.Read, Write = MemAccessFlags.Write, Execute = MemAccessFlags.Execute;
    private const MemAccessFlags WithGla = MemAccessFlags.GlaValid | MemAccessFlags.FaultWithGla, InTable = MemAccessFlags.GlaValid | MemAccessFlags.FaultInGpt;

    private static readonly Gfn Watched = new GuestPhysical(LabMemory.Watched).Gfn;

    public static TheoryData<MemoryAccess, MemAccessFlags> Types => new()
    {
        // What each type keeps the guest from.
        { MemoryAccess.N, Read | Write | Execute },
        { MemoryAccess.R, Write | Execute },
        { MemoryAccess.W, Read | Execute },
        { MemoryAccess.Rw, Execute },
        { MemoryAccess.X, Read | Write },
        { MemoryAccess.Rx, Write },
        { MemoryAccess.Wx, Read },
        { MemoryAccess.Rwx, MemAccessFlags.None },
    };

    [Theory]
    [MemberData(nameof(Types))]
    public void Each_type_reports_what_it_forbids(MemoryAccess access, MemAccessFlags forbidden)
    {
        foreach (var attempt in new[] { Read, Write, Execute })
        {
            using var lab = new EventLab(Attempt(attempt));
            lab.Monitor.SetMemoryAccess(Watched, 1, access);
            Assert.Equal(access, lab.Monitor.GetMemoryAccess(Watched));
            lab.Run((int _, in VmEvent _, ref VmEvent _) => lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.Rwx));
            if ((forbidden & attempt) == 0)
            {
                Assert.Empty(lab.Events);
                continue;
            }

            var e = Assert.Single(lab.Events);
            Assert.Equal((VmEventReason.MemAccess, VmEventFlags.VcpuPaused), (e.Reason, e.Flags));
            Assert.Equal(attempt | WithGla, e.MemAccess.Flags);
            Assert.Equal((Watched.Value, 0x10UL, LabMemory.Watched + 0x10), (e.MemAccess.Gfn, e.MemAccess.Offset, e.MemAccess.Gla));
        }
    }

    [Theory]
    [InlineData(MemAccessFlags.Read)]
    [InlineData(MemAccessFlags.Write)]
    [InlineData(MemAccessFlags.Execute)]
    public void N2rwx_tells_once_without_a_wait_and_is_lifted(MemAccessFlags attempt)
    {
        using var lab = new EventLab(Attempt(attempt));
        lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.N2Rwx);
        lab.Run();
        var e = Assert.Single(lab.Events);
        Assert.Equal((VmEventFlags.None, attempt | WithGla), (e.Flags, e.MemAccess.Flags));
        Assert.Equal(MemoryAccess.Rwx, lab.Monitor.GetMemoryAccess(Watched));
    }

    [Fact]
    public void Rx2rw_becomes_rw_at_the_first_write_without_an_event()
    {
        using var lab = new EventLab(code =>
        {
            code.mov(__byte_ptr[(long)LabMemory.Watched], 0xC3);
            code.mov(eax, (int)LabMemory.Watched);
            code.call(rax); // and now it is not executable
            code.hlt();
        });
        lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.Rx2Rw);
        lab.Run((int _, in VmEvent _, ref VmEvent _) =>
        {
            Assert.Equal(MemoryAccess.Rw, lab.Monitor.GetMemoryAccess(Watched));
            lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.Rwx);
        });
        Assert.Equal(Execute | WithGla, Assert.Single(lab.Events).MemAccess.Flags);
    }

    [Fact]
    public void The_default_is_what_new_pages_get_and_what_the_type_default_means()
    {
        using var lab = new EventLab(Attempt(Write));
        Assert.Equal(MemoryAccess.Rwx, lab.Monitor.GetMemoryAccess(new Gfn(~0UL)));
        lab.Monitor.SetDefaultAccess(MemoryAccess.Rx);
        Assert.Equal(MemoryAccess.Rx, lab.Monitor.GetMemoryAccess(new Gfn(~0UL)));
        Assert.Equal(MemoryAccess.Rwx, lab.Monitor.GetMemoryAccess(Watched));
        lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.Default);
        Assert.Equal(MemoryAccess.Rx, lab.Monitor.GetMemoryAccess(Watched));

        // A page that comes now.
        var gfn = new Gfn((LabMemory.Bytes >> 12) + 1);
        Assert.Equal(Errno.ESRCH, Assert.Throws<HypervisorException>(() => lab.Monitor.GetMemoryAccess(gfn)).Error);
        lab.Populate(gfn.Value);
        Assert.Equal(MemoryAccess.Rx, lab.Monitor.GetMemoryAccess(gfn));
        lab.Run((int _, in VmEvent _, ref VmEvent _) => lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.Rwx));
        Assert.Single(lab.Events);
    }

    [Fact]
    public void Many_pages_are_set_each_to_its_own_in_one_call()
    {
        using var lab = new EventLab(Attempt(Read));
        Gfn[] gfns = [new(0x100), new(0x102), new(0x104)];
        lab.Monitor.SetMemoryAccess(gfns, [MemoryAccess.R, MemoryAccess.N, MemoryAccess.Rx]);
        Assert.Equal([MemoryAccess.R, MemoryAccess.N, MemoryAccess.Rx], gfns.Select(lab.Monitor.GetMemoryAccess));
        Assert.Equal(MemoryAccess.Rwx, lab.Monitor.GetMemoryAccess(new Gfn(0x101)));

        // Up to the first that is no access.
        var refused = Assert.Throws<HypervisorException>(() => lab.Monitor.SetMemoryAccess(gfns, [MemoryAccess.Rw, (MemoryAccess)99, MemoryAccess.Rw]));
        Assert.Equal(Errno.EINVAL, refused.Error);
        Assert.Equal([MemoryAccess.Rw, MemoryAccess.N, MemoryAccess.Rx], gfns.Select(lab.Monitor.GetMemoryAccess));
    }

    [Fact]
    public void What_cannot_be_set_has_xens_errno()
    {
        using var lab = new EventLab(Attempt(Read));
        Assert.Equal(Errno.EINVAL, Refused(() => lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.RPw)));
        Assert.Equal(Errno.EINVAL, Refused(() => lab.Monitor.SetMemoryAccess(Watched, 1, (MemoryAccess)12)));
        Assert.Equal(Errno.EINVAL, Refused(() => lab.Monitor.SetDefaultAccess((MemoryAccess)12)));
        Assert.Equal(Errno.EINVAL, Refused(() => lab.Monitor.SetMemoryAccess(new Gfn(1UL << 40), 1, MemoryAccess.R)));
        using var svm = new EventLab(Attempt(Read), CpuVendor.Svm);
        Assert.Equal(Errno.EINVAL, Refused(() => svm.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.R)));
        lab.Monitor.Dispose();
        Assert.Equal(Errno.ENODEV, Refused(() => lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.R)));
    }

    [Theory]
    [InlineData(MemoryAccess.N, MemoryAccess.Rwx)]
    [InlineData(MemoryAccess.R, MemoryAccess.Rwx)]
    [InlineData(MemoryAccess.N2Rwx, MemoryAccess.Rwx)]
    [InlineData(MemoryAccess.Rx2Rw, MemoryAccess.Rw)]
    public void Without_a_listener_the_rights_are_lifted(MemoryAccess access, MemoryAccess after)
    {
        using var lab = new EventLab(Attempt(Write));
        lab.Monitor.SetMemoryAccess(Watched, 1, access);
        lab.Ring(VmEventOperation.Disable);
        lab.Start();
        lab.WaitForEnd();
        Assert.Equal(ShutdownReason.Poweroff, lab.Inside.ShutdownReason);
        Assert.Equal(after, lab.Inside.Physmap[Watched.Value].Access);
        Assert.Equal(0xC3UL, lab.Read(LabMemory.Watched + 0x10) & 0xFF);
    }

    [Theory]
    [InlineData(MemoryAccess.R, ShutdownReason.Crash)]
    [InlineData(MemoryAccess.N2Rwx, ShutdownReason.Crash)]
    [InlineData(MemoryAccess.Rx2Rw, ShutdownReason.Poweroff)]
    internal void A_listener_that_is_required_and_not_there_crashes_the_domain(MemoryAccess access, ShutdownReason reason)
    {
        using var lab = new EventLab(Attempt(Write));
        lab.Monitor.SetMemoryAccess(Watched, 1, access);
        lab.Monitor.SetAccessRequired(true);
        lab.Ring(VmEventOperation.Disable);
        lab.Start();
        lab.WaitForEnd();
        Assert.Equal(reason, lab.Inside.ShutdownReason);
    }

    [Fact]
    public void A_monitor_that_goes_takes_rights_and_the_need_for_a_listener_back()
    {
        using var lab = new EventLab(Attempt(Write));
        lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.R);
        lab.Monitor.SetAccessRequired(true);
        Assert.True(lab.Inside.Physmap.AccessRequired);
        lab.Monitor.Dispose();
        Assert.False(lab.Inside.Physmap.AccessRequired);
        lab.Start();
        lab.WaitForEnd();
        Assert.Equal(ShutdownReason.Poweroff, lab.Inside.ShutdownReason);
    }

    [Fact]
    public void A_page_table_walk_is_told_apart()
    {
        using var lab = new EventLab(ReloadAndWrite);
        lab.Monitor.SetMemoryAccess(new GuestPhysical(LabMemory.Table).Gfn, 1, MemoryAccess.R);
        lab.Run((int _, in VmEvent _, ref VmEvent response) => response.Flags |= VmEventFlags.Emulate);

        // The walk wants to set the dirty bit of the entry of the watched page.
        var e = lab.Events[0];
        Assert.Equal(Write | InTable, e.MemAccess.Flags);
        Assert.Equal((LabMemory.Table >> 12, (LabMemory.Watched >> 12) * 8, LabMemory.Watched), (e.MemAccess.Gfn, e.MemAccess.Offset, e.MemAccess.Gla));
        Assert.Equal(0x55UL, lab.Read(LabMemory.Watched));
    }

    [Fact]
    public void Inguest_pagefault_suppresses_walks_and_keeps_the_rest()
    {
        using var lab = new EventLab(ReloadAndWrite);
        var table = new GuestPhysical(LabMemory.Table).Gfn;
        lab.Monitor.SetMemoryAccess(table, 1, MemoryAccess.N);
        lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.R);
        lab.Monitor.Enable(new MonitorEvent.InguestPagefault());
        Assert.Equal(Errno.EEXIST, Refused(() => lab.Monitor.Enable(new MonitorEvent.InguestPagefault())));
        lab.Run((int _, in VmEvent _, ref VmEvent _) => lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.Rwx));

        // Every instruction walks through the table that cannot even be read; only the data's own violation is told.
        var e = Assert.Single(lab.Events);
        Assert.Equal((Watched.Value, Write | WithGla), (e.MemAccess.Gfn, e.MemAccess.Flags));
        Assert.Equal(0x55UL, lab.Read(LabMemory.Watched));
        lab.Monitor.Disable(new MonitorEvent.InguestPagefault());
        Assert.Equal(Errno.EEXIST, Refused(() => lab.Monitor.Disable(new MonitorEvent.InguestPagefault())));
    }

    [Fact]
    public void R_pw_is_an_option_and_lets_walks_write()
    {
        var options = new MonitoringOptions { PagingWrites = true };
        using (var lab = new EventLab(ReloadAndWrite, options: options))
        {
            lab.Monitor.SetMemoryAccess(new GuestPhysical(LabMemory.Table).Gfn, 1, MemoryAccess.RPw);
            Assert.Equal(MemoryAccess.RPw, lab.Monitor.GetMemoryAccess(new GuestPhysical(LabMemory.Table).Gfn));
            Assert.Empty(lab.Run());
            Assert.NotEqual(0UL, lab.Read(LabMemory.Table + ((LabMemory.Watched >> 12) * 8)) & 0x40);
        }

        foreach (var attempt in new[] { Read, Write, Execute })
        {
            using var lab = new EventLab(Attempt(attempt), options: options);
            lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.RPw);
            lab.Run((int _, in VmEvent _, ref VmEvent _) => lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.Rwx));
            Assert.Equal(attempt == Read ? 0 : 1, lab.Events.Count);
        }
    }

    private static Errno Refused(Action action) => Assert.Throws<HypervisorException>(action).Error;

    /// <summary>Drops the translations, and writes to the page, whose entry is not dirty yet.</summary>
    private static void ReloadAndWrite(Assembler code)
    {
        var ready = code.CreateLabel();
        code.mov(rax, cr3);
        code.mov(cr3, rax);
        code.jmp(ready);
        code.Label(ref ready);
        code.mov(__qword_ptr[(long)LabMemory.Watched], 0x55);
        code.hlt();
    }

    private static Action<Assembler> Attempt(MemAccessFlags attempt) => code =>
    {
        const long Place = (long)LabMemory.Watched + 0x10;
        switch (attempt)
        {
            case MemAccessFlags.Read:
                code.mov(eax, __dword_ptr[Place]);
                break;
            case MemAccessFlags.Write:
                code.mov(__byte_ptr[Place], 0xC3);
                break;
            default:
                code.mov(eax, (int)Place);
                code.jmp(rax);
                break;
        }

        code.hlt();
    };
}
