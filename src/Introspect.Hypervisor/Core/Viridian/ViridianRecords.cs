using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.State;

namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>The VIRIDIAN_DOMAIN record of a context (<c>struct hvm_viridian_domain_context</c>).</summary>
/// <param name="viridian">The domain's enlightenments, or null while it has none.</param>
internal sealed class ViridianDomainSection(Func<ViridianDomain?> viridian) : IHvmContextSection
{
    /// <inheritdoc/>
    public ushort TypeCode => HvmSaveCode.ViridianDomain;

    /// <inheritdoc/>
    public bool IsPerVcpu => false;

    /// <inheritdoc/>
    public int Length { get; } = Marshal.SizeOf<HvmViridianDomain>();

    /// <inheritdoc/>
    public bool TrySave(uint instance, Span<byte> record)
    {
        if (viridian() is not { } domain)
        {
            return false;
        }

        domain.Save(record);
        return true;
    }

    /// <inheritdoc/>
    public Errno Load(uint instance, ReadOnlySpan<byte> record) => viridian()?.Load(record) ?? Errno.EINVAL;
}

/// <summary>The VIRIDIAN_VCPU record of a context (<c>struct hvm_viridian_vcpu_context</c>).</summary>
/// <param name="find">The enlightenments of a vCPU, or null.</param>
internal sealed class ViridianVcpuSection(Func<uint, ViridianVcpu?> find) : IHvmContextSection
{
    /// <inheritdoc/>
    public ushort TypeCode => HvmSaveCode.ViridianVcpu;

    /// <inheritdoc/>
    public bool IsPerVcpu => true;

    /// <inheritdoc/>
    public int Length { get; } = Marshal.SizeOf<HvmViridianVcpu>();

    /// <inheritdoc/>
    public bool TrySave(uint instance, Span<byte> record)
    {
        if (find(instance) is not { } vcpu)
        {
            return false;
        }

        vcpu.Save(record);
        return true;
    }

    /// <inheritdoc/>
    public Errno Load(uint instance, ReadOnlySpan<byte> record) => find(instance)?.Load(record) ?? Errno.EINVAL;
}

/// <summary>What Xen's record of a vCPU lacks, for forks and saved files: the running timers, the registers that Xen forgets.</summary>
/// <param name="find">The enlightenments of a vCPU, or null.</param>
internal sealed class ViridianVcpuRestSection(Func<uint, ViridianVcpu?> find) : IHvmContextSection
{
    /// <inheritdoc/>
    public ushort TypeCode => CoreSectionCode.ViridianVcpu;

    /// <inheritdoc/>
    public string Name => "set of synthetic timers and crash registers";

    /// <inheritdoc/>
    public bool IsPerVcpu => true;

    /// <inheritdoc/>
    public int Length { get; } = Marshal.SizeOf<ViridianVcpuRest>();

    /// <inheritdoc/>
    public bool TrySave(uint instance, Span<byte> record)
    {
        if (find(instance) is not { } vcpu)
        {
            return false;
        }

        vcpu.SaveRest(out var rest);
        MemoryMarshal.Write(record, in rest);
        return true;
    }

    /// <inheritdoc/>
    public Errno Load(uint instance, ReadOnlySpan<byte> record)
    {
        if (find(instance) is not { } vcpu)
        {
            return Errno.EINVAL;
        }

        var rest = MemoryMarshal.Read<ViridianVcpuRest>(record);
        return vcpu.LoadRest(in rest);
    }
}
