using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.State;
using Introspect.Hypervisor.Tests.Domains;

namespace Introspect.Hypervisor.Tests.Hypercalls;

public sealed class HvmContextTests : IDisposable
{
    private readonly TestMachine _machine = new();

    [Fact]
    public void A_context_that_is_saved_and_loaded_changes_nothing()
    {
        var domain = _machine.Create(vcpus: 2);
        var runner = TestMachine.Runner(domain);
        Fill(ref runner.State);
        runner.Rflags = 0x246;
        runner.Tsc = 123;
        var first = Save(domain);
        Clear(ref runner.State);
        runner.Rflags = 0;
        runner.Tsc = 0;
        Assert.Equal(Errno.None, HvmContext.Load(domain, first));
        Assert.Equal(first, Save(domain));
        Assert.Equal(0x246UL, runner.Rflags);
        Assert.Equal(123UL, runner.Tsc);
    }

    [Fact]
    public void Vcpus_without_a_record_are_down_and_those_with_one_are_up()
    {
        var domain = _machine.Create(vcpus: 2);
        Assert.Equal(VcpuPauseFlags.Down, domain.Vcpus[1].Flags);
        var one = Save(domain);
        domain.Vcpus[1].ClearFlag(VcpuPauseFlags.Down);
        var two = Save(domain);
        Assert.Equal(one.Length + 8 + 1032, two.Length);
        Assert.Equal(Errno.None, HvmContext.Load(domain, one));
        Assert.Equal(VcpuPauseFlags.Down, domain.Vcpus[1].Flags);
        Assert.Equal(Errno.None, HvmContext.Load(domain, two));
        Assert.Equal(VcpuPauseFlags.None, domain.Vcpus[1].Flags);
    }

    [Fact]
    public void What_is_cut_off_or_has_no_header_is_ENODATA()
    {
        var domain = _machine.Create();
        var context = Save(domain);
        Assert.Equal(Errno.ENODATA, HvmContext.Load(domain, default));
        Assert.Equal(Errno.ENODATA, HvmContext.Load(domain, context.AsSpan(8)));
        Assert.Equal(Errno.ENODATA, HvmContext.Load(domain, context.AsSpan(0, context.Length - 8)));
        Assert.Equal(Errno.EINVAL, HvmContext.Load(domain, context.AsSpan(0, context.Length - 9)));
    }

    [Fact]
    public void Records_that_cannot_be_are_EINVAL()
    {
        var domain = _machine.Create();
        AssertRefused(domain, static (ref HvmHwCpu cpu) => cpu.Cr0 |= 1UL << 63);
        AssertRefused(domain, static (ref HvmHwCpu cpu) => cpu.Cr0 &= ~0x10UL);
        AssertRefused(domain, static (ref HvmHwCpu cpu) => cpu.Cr0 = 0x8000_0010);
        AssertRefused(domain, static (ref HvmHwCpu cpu) => cpu.Flags = 2);
        AssertRefused(domain, static (ref HvmHwCpu cpu) => cpu.MsrTscAux = 1UL << 32);
        TestMachine.Runner(domain).Refuses = true;
        AssertRefused(domain, static (ref HvmHwCpu _) => { });
    }

    [Fact]
    public void An_unknown_type_and_an_unknown_instance_are_EINVAL()
    {
        var domain = _machine.Create();
        var context = Save(domain);
        ref var descriptor = ref MemoryMarshal.AsRef<HvmSaveDescriptor>(context.AsSpan(8 + 24));
        Assert.Equal(HvmSaveCode.Cpu, descriptor.TypeCode);
        descriptor.Instance = 9;
        Assert.Equal(Errno.EINVAL, HvmContext.Load(domain, context));
        descriptor.Instance = 0;
        descriptor.TypeCode = 77;
        Assert.Equal(Errno.EINVAL, HvmContext.Load(domain, context));
    }

    [Fact]
    public void A_section_of_another_room_is_saved_and_loaded_with_the_rest()
    {
        var domain = _machine.Create();
        var section = new CountingSection { Value = 5 };
        domain.ContextSections.Add(section);
        var context = Save(domain);
        section.Value = 0;
        Assert.Equal(Errno.None, HvmContext.Load(domain, context));
        Assert.Equal(5, section.Value);
    }

    [Fact]
    public void Rights_have_a_form_without_an_unusable_bit()
    {
        // Code, present, long: VMX 0xa09b, packed 0xa9b. Unusable: nothing but not present.
        Assert.Equal(0xa9bu, CpuRecords.PackRights(0xa09b));
        Assert.Equal(0xa09bu, CpuRecords.UnpackRights(0xa9b));
        Assert.Equal(0u, CpuRecords.PackRights(Segment.Unusable) & Segment.Present);
        Assert.Equal(Segment.Unusable, CpuRecords.UnpackRights(0) & Segment.Unusable);
        Assert.Equal(0xc093u, CpuRecords.UnpackRights(0xc093));
    }

    [Fact]
    public void The_fpu_image_has_registers_from_the_top_of_the_stack()
    {
        var domain = _machine.Create();
        ref var state = ref TestMachine.Runner(domain).State;
        state.Fsw = 5 << 11;
        SetX87(ref state, physical: 5, 0x1111);
        SetX87(ref state, physical: 4, 0x2222);
        var image = Save(domain).AsSpan(8 + 24 + 8);
        Assert.Equal(0x1111UL, MemoryMarshal.Read<ulong>(image[32..]));
        Assert.Equal(0x2222UL, MemoryMarshal.Read<ulong>(image[(32 + (7 * 16))..]));
    }

    [Fact]
    public void Extended_state_is_saved_once_the_guest_set_XCR0_and_comes_back()
    {
        var domain = _machine.Create();
        var runner = TestMachine.Runner(domain);
        Fill(ref runner.State);
        (runner.State.Xcr0, runner.State.Fcw) = (3, 0x37F);
        var first = Save(domain);
        var cpuOnly = first.Length - 8 - (8 + 24 + 576);
        Assert.Equal(HvmSaveCode.CpuXsave, MemoryMarshal.Read<ushort>(first.AsSpan(cpuOnly)));
        runner.State.Xcr0 = 1;
        Assert.Equal(cpuOnly + 8, Save(domain).Length);
        Clear(ref runner.State);
        Assert.Equal(Errno.None, HvmContext.Load(domain, first));
        Assert.Equal(first, Save(domain));
        Assert.Equal(3UL, runner.State.Xcr0);
    }

    /// <summary>Offset in the record, and a byte that cannot be there.</summary>
    [Theory]
    [InlineData(8, 2)] // XCR0 without x87
    [InlineData(8, 7)] // AVX, which the policy does not have
    [InlineData(16, 1)] // XCR0 has what it never had
    [InlineData(24 + 512, 4)] // a component that was never on
    [InlineData(24 + 520, 1)] // compacted
    [InlineData(24 + 26, 1)] // MXCSR
    public void Extended_state_that_cannot_be_is_EINVAL(int offset, byte value)
    {
        var domain = _machine.Create();
        TestMachine.Runner(domain).State.Xcr0 = 3;
        var context = Save(domain);
        context[context.Length - 8 - (24 + 576) + offset] = value;
        Assert.Equal(Errno.EINVAL, HvmContext.Load(domain, context));
    }

    public void Dispose() => _machine.Dispose();

    private delegate void Change(ref HvmHwCpu cpu);

    private static void AssertRefused(Domain domain, Change change)
    {
        var context = Save(domain);
        change(ref MemoryMarshal.AsRef<HvmHwCpu>(context.AsSpan(8 + 24 + 8)));
        Assert.Equal(Errno.EINVAL, HvmContext.Load(domain, context));
        domain.Vcpus[0].ClearFlag(VcpuPauseFlags.Down);
    }

    private static byte[] Save(Domain domain)
    {
        var context = new byte[HvmContext.MaxSize(domain)];
        return context[..HvmContext.Save(domain, context)];
    }

    // Every byte of the registers differs, so that a field that is swapped with another is noticed.
    private static unsafe void Fill(ref CpuState state)
    {
        fixed (CpuState* cpu = &state)
        {
            for (var i = 0; i < 16; i++)
            {
                cpu->Gpr[i] = 0x1000_0000_0000_0000u + (ulong)i;
            }

            for (var i = 0; i < 16; i++)
            {
                cpu->Ymm[i * 4] = 0x2000_0000_0000_0000u + (ulong)i;
                cpu->Ymm[(i * 4) + 1] = 0x3000_0000_0000_0000u + (ulong)i;
                cpu->X87[i] = i % 2 == 0 ? 0x4000_0000_0000_0000u + (ulong)i : (ulong)i;
            }

            for (var i = SegmentIndex.Es; i <= SegmentIndex.Tr; i++)
            {
                *cpu->Seg(i) = new Segment { Base = 0x5000 + (ulong)i, Limit = 0x6000 + (uint)i, Attributes = 0x93, Selector = (ushort)(8 * (int)i) };
            }

            (cpu->Rip, cpu->Cr2, cpu->Cr3, cpu->Cr4) = (1, 2, 0x3000, 0x20);
            (cpu->Dr0, cpu->Dr1, cpu->Dr2, cpu->Dr3, cpu->Dr6, cpu->Dr7) = (4, 5, 6, 7, 8, 9);
            (cpu->Efer, cpu->Star, cpu->Lstar, cpu->Cstar, cpu->SyscallMask) = (10, 11, 12, 13, 14);
            (cpu->KernelGsBase, cpu->TscAux, cpu->SysenterCs, cpu->SysenterEsp, cpu->SysenterEip) = (15, 16, 17, 18, 19);
            (cpu->GdtrBase, cpu->IdtrBase, cpu->GdtrLimit, cpu->IdtrLimit) = (20, 21, 22, 23);
            (cpu->Fcw, cpu->Fsw, cpu->FtwAbridged, cpu->Fop, cpu->Fip, cpu->Fdp, cpu->Mxcsr) = (24, 3 << 11, 25, 26, 27, 28, 29);
            cpu->Pending = new PendingEvent { Valid = true, Vector = 14, Type = EventType.HardwareException, HasErrorCode = true, ErrorCode = 6 };
        }
    }

    private static void Clear(ref CpuState state)
    {
        var owner = state.Cr0;
        state = default;
        state.Cr0 = owner;
    }

    private static unsafe void SetX87(ref CpuState state, int physical, ulong value)
    {
        fixed (CpuState* cpu = &state)
        {
            cpu->X87[physical * 2] = value;
        }
    }

    private sealed class CountingSection : IHvmContextSection
    {
        public int Value { get; set; }

        public ushort TypeCode => HvmSaveCode.PmTimer;

        public bool IsPerVcpu => false;

        public int Length => 4;

        public bool TrySave(uint instance, Span<byte> record)
        {
            record[0] = (byte)Value;
            return true;
        }

        public Errno Load(uint instance, ReadOnlySpan<byte> record)
        {
            Value = record[0];
            return Errno.None;
        }
    }
}
