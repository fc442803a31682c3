using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Core.Execution;

internal sealed partial class VcpuRunner
{
    private static ReadOnlySpan<uint> FixedMtrrs =>
    [
        Msr.MtrrFix64K00000, Msr.MtrrFix16K80000, Msr.MtrrFix16KA0000,
        Msr.MtrrFix4KC0000, Msr.MtrrFix4KC0000 + 1, Msr.MtrrFix4KC0000 + 2, Msr.MtrrFix4KC0000 + 3,
        Msr.MtrrFix4KC0000 + 4, Msr.MtrrFix4KC0000 + 5, Msr.MtrrFix4KC0000 + 6, Msr.MtrrFix4KC0000 + 7,
    ];

    private bool HasMtrrs => _platform.Policy.Has(CpuFeature.Mtrr);

    /// <summary>The vCPU's PAT and MTRRs as Xen's record has them; zeros where it has none.</summary>
    public void SaveMemoryTypes(out HvmHwMtrr record)
    {
        record = default;
        record.Pat = ReadMemoryType(Msr.Pat);
        if (!HasMtrrs)
        {
            return;
        }

        for (var i = 0; i < HvmHwMtrr.VariableRanges * 2; i++)
        {
            record.Variable[i] = ReadMemoryType(Msr.MtrrPhysBase0 + (uint)i);
        }

        for (var i = 0; i < FixedMtrrs.Length; i++)
        {
            record.Fixed[i] = ReadMemoryType(FixedMtrrs[i]);
        }

        record.Capabilities = ReadMemoryType(Msr.MtrrCap);
        record.DefaultType = ReadMemoryType(Msr.MtrrDefType);
    }

    /// <summary>Takes them over, each with the checks of a write by the guest. MTRRs of who has none are passed over.</summary>
    public Errno LoadMemoryTypes(in HvmHwMtrr record)
    {
        if ((byte)record.Capabilities > HvmHwMtrr.VariableRanges || !WriteMemoryType(Msr.Pat, record.Pat))
        {
            return Errno.EINVAL;
        }

        if (!HasMtrrs)
        {
            return Errno.None;
        }

        var valid = true;
        for (var i = 0; i < HvmHwMtrr.VariableRanges * 2; i++)
        {
            valid &= WriteMemoryType(Msr.MtrrPhysBase0 + (uint)i, record.Variable[i]);
        }

        for (var i = 0; i < FixedMtrrs.Length; i++)
        {
            valid &= WriteMemoryType(FixedMtrrs[i], record.Fixed[i]);
        }

        return valid & WriteMemoryType(Msr.MtrrDefType, record.DefaultType) ? Errno.None : Errno.EINVAL;
    }

    private ulong ReadMemoryType(uint msr) =>
        _platform.Msrs.Read(msr, in _msrs, this, out var value) == MsrResult.Ok ? value : 0;

    private bool WriteMemoryType(uint msr, ulong value) => _platform.Msrs.Write(msr, value, ref _msrs, this) == MsrResult.Ok;
}
