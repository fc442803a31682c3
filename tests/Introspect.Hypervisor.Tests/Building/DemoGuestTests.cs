using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Building.Demo;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Building;

public sealed class DemoGuestTests
{
    /// <summary>Where the image's loaded bytes begin in the file.</summary>
    private const int ContentOffset = 0x1000;

    [FactWithTool(Qemu.Tool)]
    public void It_runs_to_its_end_on_an_independent_cpu()
    {
        DemoGuest guest = DemoGuest.Build(new DemoGuestOptions { MirrorToDebugPort = true });
        (int exitCode, string console) = Qemu.Boot(guest.Image);
        Assert.Equal(guest.ExpectedConsole(), console);
        Assert.Equal(Qemu.Done, exitCode);
    }

    [FactWithTool(Qemu.Tool)]
    public void An_independent_cpu_sees_it_do_exactly_what_is_expected_of_it()
    {
        DemoGuest guest = DemoGuest.Build(new DemoGuestOptions { MirrorToDebugPort = true, Rounds = 2, WorkPerRound = 2 });
        Qemu.Boot(guest.Image, QemuTrace.Ranges, out string log);
        QemuTrace trace = new(guest.Image[ContentOffset..], log);
        Assert.True(trace.Instructions > 1000);

        string[] expected = [.. guest.ExpectedEvents(new DemoCpu { XenLeafBase = null }).Select(QemuTrace.Describe).OfType<string>()];
        Assert.True(expected.Length > 60);
        Assert.Equal(expected, trace.Acts());

        ulong[] rips = [.. trace.Rips];
        int step = Array.IndexOf(rips, guest.StepAddresses[0]);
        Assert.Equal(guest.StepAddresses, rips[step..(step + guest.StepAddresses.Count)]);
    }

    [FactWithTool(Qemu.Tool)]
    public void Its_hypercalls_have_the_arguments_that_xen_takes()
    {
        DemoGuest guest = DemoGuest.Build();
        byte[] image = [.. guest.Image];
        // A stand-in for the page that Xen fills: it echoes what it is called with.
        Patch(image, DemoLayout.XenBase, [1]);
        Patch(image, DemoLayout.HypercallPage + (18 * 32), Stub(c =>
        {
            c.lea(ecx, __[rsi + rdi]);
            c.mov(rsi, rdx);
            c.mov(edx, 0xe9);
            c.rep.outsb();
            c.ret();
        }));
        Patch(image, DemoLayout.HypercallPage + (29 * 32), Stub(c =>
        {
            // Shutdown (2) for power off (0) makes 0x10.
            c.lea(eax, __[rdi + 0x0e]);
            c.add(eax, __dword_ptr[rsi]);
            c.@out(0xf4, al);
            c.ret();
        }));
        Patch(image, DemoLayout.HypercallPage + (34 * 32), Stub(c =>
        {
            // Guest request (24) without an argument makes an A.
            c.lea(eax, __[rdi + rsi + ('A' - 24)]);
            c.@out(0xe9, al);
            c.ret();
        }));

        (int exitCode, string console) = Qemu.Boot(image);
        string expected = string.Concat(guest.ExpectedEvents().Select(a =>
            a.Reason == VmEventReason.GuestRequest ? "A" : a.ConsoleText));
        Assert.Equal(expected, console);
        Assert.Equal(Qemu.Done, exitCode);
    }

    [Fact]
    public void Its_image_is_one_that_the_loader_takes()
    {
        DemoGuest guest = DemoGuest.Build();
        Assert.True(ElfImage.TryParse(guest.Image, out ElfImage? image, out _));
        FakeGuest memory = new(4 << 20);
        Assert.True(PvhLoader.TryLoad(image, new PvhBootOptions(), memory, out PvhEntryState? entry, out _));
        Assert.Equal(guest.Symbols["entry32"], entry.Eip);
        Assert.Equal(0xc3, memory.Read(DemoLayout.WatchedCode, 1)[0]);
        Assert.Equal(new byte[0x1000], memory.Read(DemoLayout.End - 0x1000, 0x1000));
        Assert.Equal(DemoLayout.End, entry.Ebx);
    }

    [Fact]
    public void Its_routines_and_data_have_names()
    {
        DemoGuest guest = DemoGuest.Build();
        Assert.True(ElfImage.TryParse(guest.Image, out ElfImage? image, out _));
        Assert.True(SymbolTable.TryRead(image, out SymbolTable? symbols, out _));
        Assert.Equal(guest.Symbols.Count, symbols.Count);
        foreach ((string name, ulong address) in guest.Symbols)
        {
            Assert.True(symbols.TryGetAddress(name, out ulong found));
            Assert.Equal(address, found);
        }

        foreach (string name in new[] { "entry32", "step_here", "step_end", "watched_page", "watched_code", "counter", "break_here", "task_a", "user_task", "hypercall_page" })
        {
            Assert.Contains(name, guest.Symbols);
        }

        Assert.Equal("counter", symbols.Describe(guest.Symbols["counter"]));
        Assert.Equal("step_here+0x5", symbols.Describe(guest.StepAddresses[1]));
    }

    [Fact]
    public void Nothing_else_lies_in_the_watched_page()
    {
        DemoGuest guest = DemoGuest.Build();
        IEnumerable<string> names = guest.Symbols
            .Where(s => s.Value >> 12 == DemoLayout.WatchedPage >> 12).Select(s => s.Key).Order(StringComparer.Ordinal);
        Assert.Equal(["watched_code", "watched_page", "watched_write"], names);
    }

    [Fact]
    public void Each_round_repeats_the_same_acts()
    {
        int[] counts = [.. new[] { 1, 2, 3 }.Select(r => DemoGuest.Build(new DemoGuestOptions { Rounds = r }).ExpectedEvents().Count())];
        Assert.Equal(counts[1] - counts[0], counts[2] - counts[1]);
        Assert.True(counts[1] > counts[0]);
    }

    [Fact]
    public void A_round_has_every_reason_that_a_monitor_can_show()
    {
        VmEventReason[] reasons = [.. DemoGuest.Build(new DemoGuestOptions { Rounds = 1 }).ExpectedEvents().Select(a => a.Reason).Distinct()];
        foreach (VmEventReason reason in new[]
        {
            VmEventReason.WriteCtrlreg, VmEventReason.MovToMsr, VmEventReason.SoftwareBreakpoint, VmEventReason.Cpuid,
            VmEventReason.MemAccess, VmEventReason.GuestRequest, VmEventReason.VmExit, VmEventReason.DescriptorAccess,
            VmEventReason.IoInstruction,
        })
        {
            Assert.Contains(reason, reasons);
        }
    }

    [Fact]
    public void A_denied_clear_shows_on_the_console_and_in_what_follows()
    {
        DemoGuest guest = DemoGuest.Build();
        Assert.Contains("SMEP cleared\nSMAP cleared\n", guest.ExpectedConsole(), StringComparison.Ordinal);
        DemoCpu denying = new() { ClearsAreDenied = true };
        Assert.Contains("SMEP still set\nSMAP still set\n", guest.ExpectedConsole(denying), StringComparison.Ordinal);
        ulong[] written = [.. Cr4(guest, denying).Select(a => a.New)];
        Assert.Equal([0x20, 0xa0, 0x1000a0, 0x3000a0, 0x2000a0, 0x1000a0], written);
        Assert.Equal(0x3000a0UL, Cr4(guest, denying)[^1].Old);
        Assert.Equal(0x2000a0UL, Cr4(guest, new DemoCpu())[^1].Old);
    }

    [Fact]
    public void Without_smep_and_smap_it_leaves_them_alone()
    {
        DemoGuest guest = DemoGuest.Build();
        DemoCpu old = new() { HasLeaf7 = false };
        Assert.Equal(2, Cr4(guest, old).Length);
        Assert.DoesNotContain("SM", guest.ExpectedConsole(old), StringComparison.Ordinal);
        Assert.DoesNotContain(guest.ExpectedEvents(old), a => a is { Reason: VmEventReason.Cpuid, Leaf: 7 });
    }

    [Fact]
    public void Behind_viridian_it_looks_for_xen_further_on()
    {
        DemoAct[] acts = [.. DemoGuest.Build().ExpectedEvents(new DemoCpu { XenLeafBase = 0x4000_0100 })];
        uint[] leaves = [.. acts.Where(a => a.Reason == VmEventReason.Cpuid && a.Leaf >> 28 == 4).Select(a => a.Leaf)];
        Assert.Equal([0x4000_0000, 0x4000_0100, 0x4000_0101, 0x4000_0102], leaves);
        Assert.Contains(acts, a => a is { Reason: VmEventReason.MovToMsr, Msr: 0x4000_0200, New: DemoLayout.HypercallPage });
    }

    [Fact]
    public void One_that_runs_for_ever_has_no_last_act_and_prints_nothing_in_its_rounds()
    {
        DemoGuest guest = DemoGuest.Build(new DemoGuestOptions { Forever = true });
        DemoAct[] acts = [.. guest.ExpectedEvents().Take(10_000)];
        Assert.Equal(10_000, acts.Length);
        Assert.Equal(3, acts.Count(a => a.ConsoleText is not null));
    }

    [Fact]
    public void The_stepped_instructions_stand_one_behind_the_other_but_for_the_branch()
    {
        DemoGuest guest = DemoGuest.Build();
        Assert.Equal(guest.Symbols["step_here"], guest.StepAddresses[0]);
        Assert.Equal(guest.Symbols["step_end"], guest.StepAddresses[^1]);
        Assert.Equal(10, guest.StepAddresses.Count);
        Assert.Equal(guest.StepAddresses.Order(), guest.StepAddresses);
    }

    [Fact]
    public void Two_builds_are_the_same_bytes() =>
        Assert.Equal(DemoGuest.Build().Image, DemoGuest.Build().Image);

    private static DemoAct[] Cr4(DemoGuest guest, DemoCpu cpu) =>
        [.. guest.ExpectedEvents(cpu).Where(a => a is { Reason: VmEventReason.WriteCtrlreg, ControlRegister: ControlRegisterIndex.Cr4 })];

    private static byte[] Stub(Action<Assembler> emit)
    {
        Assembler c = new(64);
        emit(c);
        using MemoryStream code = new();
        c.Assemble(new StreamCodeWriter(code), 0);
        Assert.True(code.Length <= 32);
        return code.ToArray();
    }

    private static void Patch(byte[] image, ulong address, byte[] bytes) =>
        bytes.CopyTo(image, ContentOffset + (int)(address - DemoLayout.Entry32));
}
