using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.State;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>The memory types of the vCPUs (<c>struct hvm_hw_mtrr</c>), which a toolstack gives a PVH guest that has no firmware to set them.</summary>
internal sealed class MtrrSection(Domain domain) : IHvmContextSection
{
    /// <inheritdoc/>
    public ushort TypeCode => HvmSaveCode.Mtrr;

    /// <inheritdoc/>
    public bool IsPerVcpu => true;

    /// <inheritdoc/>
    public int Length { get; } = Marshal.SizeOf<HvmHwMtrr>();

    /// <inheritdoc/>
    public bool TrySave(uint instance, Span<byte> record)
    {
        if (domain.FindVcpu(instance)?.Runner is not VcpuRunner runner)
        {
            return false;
        }

        runner.SaveMemoryTypes(out var types);
        MemoryMarshal.Write(record, in types);
        return true;
    }

    /// <inheritdoc/>
    public Errno Load(uint instance, ReadOnlySpan<byte> record) =>
        domain.FindVcpu(instance)?.Runner is VcpuRunner runner
            ? runner.LoadMemoryTypes(MemoryMarshal.Read<HvmHwMtrr>(record))
            : Errno.EINVAL;
}
