using System.Globalization;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Tests.Platform;

public sealed class MsrFileTests
{
    private const ulong Reset = 0xFEE0_0900;

    private sealed class FakeCpu : IMsrCpu
    {
        private readonly Dictionary<CpuMsr, ulong> _registers = [];

        public bool PagingEnabled { get; set; }

        public bool FiveLevelPaging { get; set; }

        public ulong Timestamp { get; set; }

        public int ApicChanges { get; private set; }

        public ulong ReadRegister(CpuMsr register) => _registers.GetValueOrDefault(register);

        public void WriteRegister(CpuMsr register, ulong value) => _registers[register] = value;

        public bool ReadApic(uint msr, out ulong value)
        {
            value = msr == 0x802 ? 0x55UL : 0;
            return msr == 0x802;
        }

        public bool WriteApic(uint msr, ulong value) => msr == 0x80B && value == 0;

        public void OnApicBaseChanged(ulong oldValue, ulong newValue) => ApicChanges++;
    }

    private sealed class Machine
    {
        public readonly FakeCpu Cpu = new();
        public MsrState State;
        private readonly MsrFile _file;

        public Machine(CpuVendor vendor, params ReadOnlySpan<CpuFeature> extra)
        {
            var policy = new CpuidPolicy(new CpuidConfiguration
            {
                Vendor = vendor,
                DomainId = 1,
                TscFrequency = 1_000_000_000,
                Features = CpuFeatures.Implemented.Without(CpuFeature.Apic, CpuFeature.X2Apic, CpuFeature.TscDeadline).With(extra),
            });
            _file = new MsrFile(policy);
            State = MsrState.AtReset(policy, 0);
        }

        public ulong? Read(uint msr) => _file.Read(msr, State, Cpu, out var value) == MsrResult.Ok ? value : null;

        public MsrResult Write(uint msr, ulong value) => _file.Write(msr, value, ref State, Cpu);
    }

    // vendor (I, A or B for both) | MSR | value written, or r for a read | ok or gp | value read back, where it matters
    private const string Rows = """
        # EFER: SCE, LME, NXE; LMA is ignored, everything else is reserved
        B c0000080 1        ok 1
        B c0000080 d01      ok 901
        B c0000080 2        gp 0
        B c0000080 1000     gp 0
        B c0000080 4000     gp 0
        B c0000080 8000     gp 0
        B c0000080 100000000 gp 0
        # addresses must be canonical
        B c0000082 7fffffffffff     ok 7fffffffffff
        B c0000082 800000000000     gp 0
        B c0000082 ffff800000000000 ok ffff800000000000
        B c0000083 8000000000000000 gp 0
        B c0000100 ffff7fffffffffff gp 0
        B c0000101 ffffffffffffffff ok ffffffffffffffff
        B c0000102 1000000000000    gp 0
        B 175      800000000000     gp 0
        B 176      deadbeef         ok deadbeef
        # no checks on these
        B c0000081 ffffffffffffffff ok ffffffffffffffff
        B c0000084 ffffffffffffffff ok ffffffffffffffff
        B 174      ffff             ok ffff
        # TSC_AUX has 32 bits
        B c0000103 ffffffff  ok ffffffff
        B c0000103 100000000 gp 0
        # PAT types 0 1 4 5 6 7
        B 277 0007040600070406 ok 7040600070406
        B 277 2                gp 0
        B 277 300              gp 0
        B 277 0800000000000000 gp 0
        # MTRRs
        B fe  r    ok 508
        B fe  508  gp 508
        B 2ff c06  ok c06
        B 2ff 2    gp 0
        B 2ff 100  gp 0
        B 2ff 1000 gp 0
        B 200 6          ok 6
        B 200 f00        gp 0
        B 200 8000000000 gp 0
        B 201 7fffff0800 ok 7fffff0800
        B 201 100        gp 0
        B 20f 800        ok 800
        B 210 0          gp -
        B 250 0606060606060606 ok 606060606060606
        B 250 0606060603060606 gp 0
        B 26f 1                ok 1
        B 270 r                gp -
        # TSC offset register
        B 3b 5 ok 5
        # CPUID faulting is offered on both
        B ce  r    ok 80000000
        B ce  0    gp 80000000
        B 140 1    ok 1
        B 140 2    gp 0
        # debug control
        I 1d9 2    ok 2
        I 1d9 1    ok 0
        I 1d9 4    gp 0
        I 1d9 8000 gp 0
        A 1d9 1    ok 1
        # not told: speculation control, capabilities, XSS, x2APIC, APIC
        B 48  r    gp -
        B 48  0    gp -
        B 49  1    gp -
        B 10a r    gp -
        B 10b 1    gp -
        B da0 r    gp -
        B 802 r    gp -
        B 1b  r    gp -
        B 6e0 r    gp -
        # machine check: two banks
        I 179 r    ok 1000802
        A 179 r    ok 2
        B 17a 4    ok 4
        B 400 r    ok ffffffffffffffff
        B 400 0    ok ffffffffffffffff
        B 401 0    ok 0
        B 401 1    gp 0
        B 408 r    ok 0
        B 409 1    ok 0
        B 480 r    gp -
        I 280 ffffffffffffffff ok 40007fff
        I 282 1                ok 0
        # Intel only
        I 3a  r    ok 1
        I 3a  5    gp 1
        I 17  r    ok 0
        I 17  0    gp 0
        I 8b  0    ok 100000000
        I 8b  1    gp 100000000
        I 79  1    ok -
        I 198 r    ok 0
        I 198 0    gp 0
        I 199 ff   ok 0
        I 19c r    ok 0
        I 1a0 r    ok 1801
        I 1a0 1801 ok 1801
        I 1a0 1    gp 1801
        I c1  5    ok 0
        I 186 5    ok 0
        I 18a 5    ok -
        I 38f 5    ok 0
        I 1db r    ok 0
        A 3a  r    gp -
        A 17  r    gp -
        A 79  1    gp -
        A 8b  0    gp 100000000
        A 198 r    gp -
        A 19c r    gp -
        A 1a0 r    gp -
        A c1  r    gp -
        # AMD only
        A c0010015 r    ok 0
        A c0010015 1    gp 0
        A c0010010 1    ok 0
        A c001001a 1    ok 0
        A c0010114 10   ok 0
        A c0010117 1000 ok 1000
        A c0010117 1    gp 0
        A c0010117 fe00000000 gp 0
        A c0000104 r            ok 100000000
        A c0000104 10000000000  gp 100000000
        A c0011029 0    ok 2
        A c0010020 0    ok -
        A c0000408 r    ok 2000000000000000
        A c0010004 5    ok 0
        A c0010200 5    ok 0
        A c0011027 r    gp -
        A c0010140 r    gp -
        A 1db 5         ok 5
        A 2c  r         ok 0
        I c0010015 r    gp -
        I c0010114 r    gp -
        I c0010117 0    gp -
        I c0011029 r    gp -
        I c0010020 0    gp -
        I c0010004 r    gp -
        I 2c  r         gp -
        # both, for guests that were made for the other
        B c001001f 1    ok 0
        B c0010055 r    ok 0
        B c0010055 0    gp 0
        # Xen's own
        B 40000000 r    ok 0
        B 40000001 r    gp -
        B 40000001 0    gp -
        B 40000200 r    gp -
        # nobody's
        B 2         r gp -
        B 35        r gp -
        B 1fff      r gp -
        B c0001fff  r gp -
        B dead0000  r gp -
        B 40000300  r gp -
        """;

    public static TheoryData<string> RowLines =>
        [.. Rows.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Where(l => l[0] != '#')];

    [Theory]
    [MemberData(nameof(RowLines))]
    public void Registers_take_and_give_what_Xen_lets_them(string row)
    {
        var cells = row.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        var vendors = cells[0] switch
        {
            "I" => [CpuVendor.Vmx],
            "A" => [CpuVendor.Svm],
            _ => new[] { CpuVendor.Vmx, CpuVendor.Svm },
        };
        var msr = Convert.ToUInt32(cells[1], 16);
        foreach (var vendor in vendors)
        {
            var machine = new Machine(vendor);
            if (cells[2] == "r")
            {
                Assert.Equal(cells[3] == "ok", machine.Read(msr) is not null);
            }
            else
            {
                var expected = cells[3] == "ok" ? MsrResult.Ok : MsrResult.Fault;
                Assert.Equal(expected, machine.Write(msr, Convert.ToUInt64(cells[2], 16)));
            }

            if (cells.Length > 4 && cells[4] != "-")
            {
                Assert.Equal(cells[4], machine.Read(msr)?.ToString("x", CultureInfo.InvariantCulture));
            }
        }
    }

    [Fact]
    public void Efer_keeps_LMA_and_LME_cannot_change_while_paging()
    {
        var machine = new Machine(CpuVendor.Vmx);
        machine.Cpu.WriteRegister(CpuMsr.Efer, 0x500);
        machine.Cpu.PagingEnabled = true;
        Assert.Equal(MsrResult.Ok, machine.Write(0xC000_0080, 0x901));
        Assert.Equal(0xD01UL, machine.Read(0xC000_0080));
        Assert.Equal(MsrResult.Fault, machine.Write(0xC000_0080, 0x801));
        Assert.Equal(0xD01UL, machine.Read(0xC000_0080));
    }

    [Fact]
    public void Efer_bits_without_their_feature_fault()
    {
        foreach (var (feature, bit) in new[] { (CpuFeature.Syscall, 1UL), (CpuFeature.Lm, 0x100UL), (CpuFeature.Nx, 0x800UL) })
        {
            var policy = new CpuidPolicy(new CpuidConfiguration
            {
                Vendor = CpuVendor.Vmx,
                DomainId = 1,
                TscFrequency = 1_000_000_000,
                Features = CpuFeatures.Implemented.Without(feature),
            });
            var state = MsrState.AtReset(policy, 0);
            Assert.Equal(MsrResult.Fault, new MsrFile(policy).Write(0xC000_0080, bit, ref state, new FakeCpu()));
        }
    }

    [Fact]
    public void With_five_levels_canonical_addresses_have_57_bits()
    {
        var machine = new Machine(CpuVendor.Vmx) { Cpu = { FiveLevelPaging = true } };
        Assert.Equal(MsrResult.Ok, machine.Write(0xC000_0100, 0x00FF_FFFF_FFFF_FFFF));
        Assert.Equal(MsrResult.Fault, machine.Write(0xC000_0100, 0x0100_0000_0000_0000));
    }

    [Fact]
    public void The_hypercall_page_is_asked_for_by_a_page_address()
    {
        var machine = new Machine(CpuVendor.Vmx);
        Assert.Equal(MsrResult.WriteHypercallPage, machine.Write(0x4000_0000, 0x123000));
        Assert.Equal(MsrResult.Fault, machine.Write(0x4000_0000, 0x123001));
    }

    [Fact]
    public void Writing_the_TSC_moves_the_adjustment_and_the_other_way_round()
    {
        var machine = new Machine(CpuVendor.Vmx) { Cpu = { Timestamp = 1000 } };
        Assert.Equal(MsrResult.Ok, machine.Write(0x10, 5000));
        Assert.Equal(4000UL, machine.Read(0x3B));
        Assert.Equal(5000UL, machine.Read(0x10));
        Assert.Equal(MsrResult.Ok, machine.Write(0x3B, 0));
        Assert.Equal(1000UL, machine.Read(0x10));
    }

    [Fact]
    public void Cpuid_faulting_is_seen_in_the_state()
    {
        var machine = new Machine(CpuVendor.Svm);
        Assert.False(machine.State.CpuidFaulting);
        Assert.Equal(MsrResult.Ok, machine.Write(0x140, 1));
        Assert.True(machine.State.CpuidFaulting);
    }

    [Theory]
    [InlineData(Reset, Reset, true)]
    [InlineData(Reset, 0xFEE0_0D00, true)] // xAPIC to x2APIC
    [InlineData(Reset, 0xFEE0_0100, true)] // disabled
    [InlineData(Reset, 0xFEE0_0500, false)] // x2APIC without enable
    [InlineData(Reset, 0xFED0_0900, false)] // the window cannot be moved
    [InlineData(Reset, 0xFEE0_0901, false)] // reserved
    [InlineData(Reset, 0x80_FEE0_0900, false)] // beyond the physical addresses
    [InlineData(0xFEE0_0D00, Reset, false)] // x2APIC back to xAPIC
    [InlineData(0xFEE0_0D00, 0xFEE0_0100, true)] // x2APIC to disabled
    [InlineData(0xFEE0_0100, 0xFEE0_0D00, false)] // disabled to x2APIC
    public void The_local_APIC_changes_mode_as_hardware_lets_it(ulong old, ulong value, bool ok)
    {
        var machine = new Machine(CpuVendor.Vmx, CpuFeature.Apic, CpuFeature.X2Apic);
        Assert.Equal(Reset, machine.Read(0x1B));
        machine.State.ApicBase = old;
        Assert.Equal(ok ? MsrResult.Ok : MsrResult.Fault, machine.Write(0x1B, value));
        Assert.Equal(ok ? value : old, machine.Read(0x1B));
        Assert.Equal(ok ? 1 : 0, machine.Cpu.ApicChanges);
    }

    [Fact]
    public void X2APIC_registers_are_there_in_x2APIC_mode_only()
    {
        var machine = new Machine(CpuVendor.Vmx, CpuFeature.Apic, CpuFeature.X2Apic);
        Assert.Null(machine.Read(0x802));
        machine.State.ApicBase = 0xFEE0_0D00;
        Assert.Equal(0x55UL, machine.Read(0x802));
        Assert.Null(machine.Read(0x803));
        Assert.Equal(MsrResult.Ok, machine.Write(0x80B, 0));
        Assert.Equal(MsrResult.Fault, machine.Write(0x80B, 1));
    }

    [Fact]
    public void Speculation_control_follows_its_features()
    {
        var machine = new Machine(CpuVendor.Vmx, CpuFeature.IbrsIbpb, CpuFeature.L1dFlush);
        Assert.Equal(MsrResult.Ok, machine.Write(0x48, 3));
        Assert.Equal(3UL, machine.Read(0x48));
        Assert.Equal(MsrResult.Fault, machine.Write(0x48, 4));
        Assert.Equal(MsrResult.Ok, machine.Write(0x49, 1));
        Assert.Equal(MsrResult.Fault, machine.Write(0x49, 2));
        Assert.Null(machine.Read(0x49));
        Assert.Equal(MsrResult.Ok, machine.Write(0x10B, 1));
    }

    [Fact]
    public void Every_register_of_the_ranges_that_suites_walk_either_reads_or_faults()
    {
        foreach (var vendor in new[] { CpuVendor.Vmx, CpuVendor.Svm })
        {
            var machine = new Machine(vendor);
            var readable = 0;
            foreach (var (first, last) in new[] { (0u, 0x1FFFu), (0x4000_0000u, 0x4000_00FFu), (0xC000_0000u, 0xC001_1FFFu) })
            {
                for (var msr = first; msr <= last; msr++)
                {
                    readable += machine.Read(msr) is null ? 0 : 1;
                }
            }

            Assert.InRange(readable, 150, 300);
        }
    }
}
