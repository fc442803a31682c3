using System.Buffers.Binary;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.State;

/// <summary>
/// The extended state of a vCPU (<c>struct hvm_hw_cpu_xsave</c>): which components there are, XCR0, all that XCR0
/// ever had, and an XSAVE area in the standard form. Only vCPUs that set XCR0 have one; the CPU record has the rest.
/// </summary>
internal sealed class XsaveContextSection(Domain domain) : IHvmContextSection
{
    private const int SupportedOffset = 0;
    private const int Xcr0Offset = 8;
    private const int AccumulatedOffset = 16;
    private const int AreaOffset = 24;

    /// <inheritdoc/>
    public ushort TypeCode => HvmSaveCode.CpuXsave;

    /// <inheritdoc/>
    public string Name => "XSAVE record";

    /// <inheritdoc/>
    public bool IsPerVcpu => true;

    /// <inheritdoc/>
    public int Length => AreaOffset + ExtendedState.AreaBytes;

    /// <inheritdoc/>
    public bool TrySave(uint instance, Span<byte> record)
    {
        if (domain.FindVcpu(instance) is not { } vcpu || (vcpu.Flags & VcpuPauseFlags.Down) != 0
            || (vcpu.Runner.State.Xcr0 & ~ExtendedState.Initial) == 0)
        {
            return false;
        }

        ref var state = ref vcpu.Runner.State;
        BinaryPrimitives.WriteUInt64LittleEndian(record[SupportedOffset..], vcpu.Runner.SupportedXcr0);
        BinaryPrimitives.WriteUInt64LittleEndian(record[Xcr0Offset..], state.Xcr0);
        BinaryPrimitives.WriteUInt64LittleEndian(record[AccumulatedOffset..], state.Xcr0);
        ExtendedState.Save(ref state, record[AreaOffset..]);
        return true;
    }

    /// <inheritdoc/>
    public Errno Load(uint instance, ReadOnlySpan<byte> record)
    {
        var xcr0 = BinaryPrimitives.ReadUInt64LittleEndian(record[Xcr0Offset..]);
        var accumulated = BinaryPrimitives.ReadUInt64LittleEndian(record[AccumulatedOffset..]);
        return domain.FindVcpu(instance) is { } vcpu
            && ExtendedState.IsValid(xcr0, vcpu.Runner.SupportedXcr0)
            && (xcr0 & ~accumulated) == 0
            && (accumulated & ~vcpu.Runner.SupportedXcr0) == 0
            && ExtendedState.TryLoad(ref vcpu.Runner.State, record[AreaOffset..], xcr0, accumulated)
            ? Errno.None
            : Errno.EINVAL;
    }
}
