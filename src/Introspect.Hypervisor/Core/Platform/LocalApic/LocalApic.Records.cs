using System.Numerics;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Platform.Apic;

/// <summary>Saving and loading: the state is the records, byte for byte.</summary>
internal sealed partial class LocalApic
{
    [Flags]
    private enum LoadedRecords
    {
        None = 0,
        Hidden = 1,
        Registers = 2,
        Both = Hidden | Registers,
    }

    // Records that were loaded and not touched by the guest since.
    private LoadedRecords _recordsLoaded;

    /// <summary>Saves <c>struct hvm_hw_lapic</c>. The vCPU stands still.</summary>
    public void SaveHidden(Span<byte> record)
    {
        lock (_timerLock)
        {
            MemoryMarshal.Write(record, in _hidden);
        }
    }

    /// <summary>Saves <c>struct hvm_hw_lapic_regs</c>. The vCPU stands still.</summary>
    public void SaveRegisters(Span<byte> record) => MemoryMarshal.Write(record, in _registers);

    /// <summary>Loads <c>struct hvm_hw_lapic</c>. The vCPU stands still.</summary>
    /// <returns>EINVAL: no APIC can be in that state.</returns>
    public Errno LoadHidden(ReadOnlySpan<byte> record)
    {
        const ulong BaseBits = AddressMask | MsrIndex.ApicBaseEnable | MsrIndex.ApicBaseBsp | MsrIndex.ApicBaseX2;
        const uint DisabledBits = HvmHwLapic.HardwareDisabled | HvmHwLapic.SoftwareDisabled;
        var loaded = MemoryMarshal.Read<HvmHwLapic>(record);
        var enabled = (loaded.ApicBaseMsr & MsrIndex.ApicBaseEnable) != 0;
        if ((loaded.ApicBaseMsr & ~BaseBits) != 0
            || (!enabled && (loaded.ApicBaseMsr & MsrIndex.ApicBaseX2) != 0)
            || (loaded.Disabled & ~DisabledBits) != 0
            || loaded.TimerDivisor > 128 || !BitOperations.IsPow2(loaded.TimerDivisor))
        {
            return Errno.EINVAL;
        }

        // The two places that say so must agree.
        loaded.Disabled = (loaded.Disabled & HvmHwLapic.SoftwareDisabled) | (enabled ? 0 : HvmHwLapic.HardwareDisabled);
        lock (_timerLock)
        {
            _hidden = loaded;
        }

        Loaded(LoadedRecords.Hidden);
        return Errno.None;
    }

    /// <summary>Loads <c>struct hvm_hw_lapic_regs</c>; its timer starts. The vCPU stands still.</summary>
    public void LoadRegisters(ReadOnlySpan<byte> record)
    {
        lock (_timerLock)
        {
            Stop();
            _registers = MemoryMarshal.Read<HvmHwLapicRegs>(record);
        }

        for (var word = 0; word < VectorWords; word++)
        {
            Interlocked.Or(ref _requestedWords, 1 << word);
            ForgetRequests(word);
        }

        Loaded(LoadedRecords.Registers);
        Rearm();
        _host.Wake();
    }

    // Once both records are there, an x2APIC address that older hypervisors made otherwise is seen to.
    private void Loaded(LoadedRecords record)
    {
        _recordsLoaded |= record;
        if (_recordsLoaded != LoadedRecords.Both || !IsX2)
        {
            return;
        }

        var address = Register(ApicRegister.LogicalDestination);
        if (address == LogicalX2Id(Register(ApicRegister.Id)))
        {
            return;
        }

        if (address == 1)
        {
            TakeX2Id();
        }
        else if (address == LogicalX2Id(VcpuId))
        {
            _bus.LogicalIdsFollowVcpus = true;
        }
    }
}
