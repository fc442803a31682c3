using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Platform.Apic;

/// <summary>The registers as MSRs (x2APIC).</summary>
internal sealed partial class LocalApic
{
    /// <summary>RDMSR of 0x800–0x8FF; false is #GP(0).</summary>
    public bool ReadMsr(uint msr, out ulong value)
    {
        var register = (msr - Msr.X2ApicFirst) << 4;
        value = 0;
        if (!IsX2 || !IsReadable(register))
        {
            return false;
        }

        value = ReadRegister(register);
        if (register == ApicRegister.CommandLow)
        {
            value |= (ulong)Register(ApicRegister.CommandHigh) << 32;
        }

        return true;
    }

    /// <summary>WRMSR of 0x800–0x8FF; false is #GP(0).</summary>
    public bool WriteMsr(uint msr, ulong value)
    {
        var register = (msr - Msr.X2ApicFirst) << 4;
        if (!IsX2 || Writable(register) is not { } writable || (value & ~writable) != 0)
        {
            return false;
        }

        if (register == ApicRegister.SelfIpi)
        {
            register = ApicRegister.CommandLow;
            value |= ApicBits.ShorthandSelf;
        }
        else if (register == ApicRegister.CommandLow)
        {
            Register(ApicRegister.CommandHigh) = (uint)(value >> 32);
        }

        WriteRegister(register, (uint)value);
        return true;
    }

    private static bool IsReadable(uint register) => register switch
    {
        ApicRegister.Id or ApicRegister.Version or ApicRegister.TaskPriority or ApicRegister.ProcessorPriority
            or ApicRegister.LogicalDestination or ApicRegister.SpuriousVector or ApicRegister.ErrorStatus
            or ApicRegister.Cmci or ApicRegister.CommandLow or ApicRegister.Divide => true,
        >= ApicRegister.InService and < ApicRegister.ErrorStatus => true,
        >= ApicRegister.LvtTimer and <= ApicRegister.CurrentCount => true,
        _ => false,
    };

    /// <summary>The bits that may be set in a write; null where there is nothing to write.</summary>
    private static ulong? Writable(uint register) => register switch
    {
        ApicRegister.TaskPriority or ApicRegister.SelfIpi => ApicBits.VectorMask,
        ApicRegister.Eoi or ApicRegister.ErrorStatus => 0,
        ApicRegister.SpuriousVector => ApicBits.SpuriousWritable,
        ApicRegister.CommandLow => ApicBits.X2CommandWritable | 0xFFFF_FFFF_0000_0000,
        ApicRegister.Cmci => ApicBits.LvtWritable | ApicBits.DeliveryMode,
        >= ApicRegister.LvtTimer and <= ApicRegister.LvtError => ApicBits.LvtWritableOf(register),
        ApicRegister.InitialCount => ulong.MaxValue, // the upper half is dropped
        ApicRegister.Divide => ApicBits.DivideMask,
        _ => null,
    };

    /// <summary>The number and the logical address, which in x2APIC mode follow from the vCPU's.</summary>
    private void TakeX2Id()
    {
        var id = VcpuId * 2;
        Register(ApicRegister.Id) = id;
        Register(ApicRegister.LogicalDestination) = LogicalX2Id(_bus.LogicalIdsFollowVcpus ? VcpuId : id);
    }

    /// <summary>Cluster and bit of an x2APIC number.</summary>
    private static uint LogicalX2Id(uint id) => ((id & ~0xFu) << 12) | (1u << (int)(id & 0xF));
}
