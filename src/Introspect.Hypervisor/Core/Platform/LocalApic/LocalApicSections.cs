using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.State;

namespace Introspect.Hypervisor.Core.Platform.Apic;

/// <summary>The LAPIC record of a context (<c>struct hvm_hw_lapic</c>).</summary>
/// <param name="bus">The domain's APICs.</param>
/// <param name="loaded">Told of a vCPU whose APIC was loaded.</param>
internal sealed class LapicSection(LocalApicBus bus, Action<uint> loaded) : IHvmContextSection
{
    /// <inheritdoc/>
    public ushort TypeCode => HvmSaveCode.Lapic;

    /// <inheritdoc/>
    public string Name => "LAPIC record";

    /// <inheritdoc/>
    public bool IsPerVcpu => true;

    /// <inheritdoc/>
    public int Length { get; } = Marshal.SizeOf<HvmHwLapic>();

    /// <inheritdoc/>
    public bool TrySave(uint instance, Span<byte> record)
    {
        if (bus.Find(instance) is not { } apic)
        {
            return false;
        }

        apic.SaveHidden(record);
        return true;
    }

    /// <inheritdoc/>
    public Errno Load(uint instance, ReadOnlySpan<byte> record)
    {
        if (bus.Find(instance) is not { } apic)
        {
            return Errno.EINVAL;
        }

        var error = apic.LoadHidden(record);
        if (error == Errno.None)
        {
            loaded(instance);
        }

        return error;
    }
}

/// <summary>The LAPIC_REGS record of a context (<c>struct hvm_hw_lapic_regs</c>).</summary>
internal sealed class LapicRegistersSection(LocalApicBus bus) : IHvmContextSection
{
    /// <inheritdoc/>
    public ushort TypeCode => HvmSaveCode.LapicRegs;

    /// <inheritdoc/>
    public string Name => "LAPIC_REGS record";

    /// <inheritdoc/>
    public bool IsPerVcpu => true;

    /// <inheritdoc/>
    public int Length { get; } = Marshal.SizeOf<HvmHwLapicRegs>();

    /// <inheritdoc/>
    public bool IsLengthExact => true;

    /// <inheritdoc/>
    public bool TrySave(uint instance, Span<byte> record)
    {
        if (bus.Find(instance) is not { } apic)
        {
            return false;
        }

        apic.SaveRegisters(record);
        return true;
    }

    /// <inheritdoc/>
    public Errno Load(uint instance, ReadOnlySpan<byte> record)
    {
        if (bus.Find(instance) is not { } apic)
        {
            return Errno.EINVAL;
        }

        apic.LoadRegisters(record);
        return Errno.None;
    }
}
