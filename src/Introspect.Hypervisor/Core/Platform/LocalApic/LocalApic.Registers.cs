using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Platform.Apic;

/// <summary>The registers as a page of memory (xAPIC), and what writing each of them does in either mode.</summary>
internal sealed partial class LocalApic
{
    private const uint PageBytes = 0x1000;
    private const ulong AddressMask = 0x000F_FFFF_FFFF_F000;

    /// <summary>The guest-physical address is in the APIC's page, and the APIC is in the mode in which it has one.</summary>
    public bool Covers(ulong gpa) =>
        !IsHardwareDisabled && !IsX2 && gpa - (_hidden.ApicBaseMsr & AddressMask) < PageBytes;

    /// <summary>
    /// Reads memory of the page. Registers are 32 bits at every 16th byte; what is not whole within one reads as zero.
    /// </summary>
    public uint ReadMemory(ulong gpa, int size)
    {
        var offset = (uint)(gpa & (PageBytes - 1));
        var within = offset & 0xF;
        if (within + (uint)size > 4 || offset > ApicRegister.Divide + 3)
        {
            return 0;
        }

        var value = ReadRegister(offset & ~0xFu) >> (int)(within * 8);
        return size switch
        {
            1 => (byte)value,
            2 => (ushort)value,
            _ => value,
        };
    }

    /// <summary>Writes memory of the page; what is not whole within a register goes nowhere.</summary>
    public void WriteMemory(ulong gpa, int size, uint value)
    {
        var offset = (uint)(gpa & (PageBytes - 1));
        var within = offset & 0xF;
        offset &= ~0xFu;
        if (within + (uint)size > 4 || offset > ApicRegister.Divide)
        {
            return;
        }

        if (size < 4)
        {
            var mask = (size == 1 ? 0xFFu : 0xFFFFu) << (int)(within * 8);
            value = (ReadRegister(offset) & ~mask) | ((value << (int)(within * 8)) & mask);
        }

        WriteRegister(offset, value);
    }

    private uint ReadRegister(uint register) => register switch
    {
        ApicRegister.ProcessorPriority => ProcessorPriority,
        ApicRegister.CurrentCount => CurrentCount,
        ApicRegister.InitialCount when !IsCounter => 0,
        _ => Volatile.Read(ref Register(register)),
    };

    private void WriteRegister(uint register, uint value)
    {
        _recordsLoaded = LoadedRecords.None;
        switch (register)
        {
            case ApicRegister.Id:
                Register(register) = value;
                break;
            case ApicRegister.TaskPriority:
                Register(register) = value & ApicBits.VectorMask;
                break;
            case ApicRegister.Eoi:
                EndOfInterrupt();
                break;
            case ApicRegister.LogicalDestination:
                Register(register) = value & ApicBits.LogicalIdMask;
                break;
            case ApicRegister.DestinationFormat:
                Register(register) = value | ApicBits.ClusterFormat;
                break;
            case ApicRegister.SpuriousVector:
                WriteSpuriousVector(value);
                break;
            case ApicRegister.ErrorStatus:
                // Shows what came since the last write.
                Register(register) = Interlocked.Exchange(ref Register(ApicRegister.PendingErrors), 0);
                break;
            case ApicRegister.CommandLow:
                value &= ~ApicBits.SendPending; // a message is there as soon as it is sent
                Register(register) = value;
                _bus.Send(this, value, Register(ApicRegister.CommandHigh));
                break;
            case ApicRegister.CommandHigh:
                Register(register) = value & ApicBits.LogicalIdMask;
                break;
            case ApicRegister.LvtTimer:
                WriteTimerEntry(value);
                break;
            case >= ApicRegister.LvtThermal and <= ApicRegister.LvtError:
                WriteLvt(register, value);
                break;
            case ApicRegister.InitialCount:
                WriteInitialCount(value);
                break;
            case ApicRegister.Divide:
                WriteDivide(value);
                break;
            default:
                break; // read-only, or nothing
        }
    }

    private void WriteSpuriousVector(uint value)
    {
        Register(ApicRegister.SpuriousVector) = value & ApicBits.SpuriousWritable;
        if ((value & ApicBits.SpuriousEnable) == 0)
        {
            _hidden.Disabled |= HvmHwLapic.SoftwareDisabled;
            for (uint entry = 0; entry < ApicBits.LvtCount; entry++)
            {
                Register(ApicRegister.LvtTimer + (WordStride * entry)) |= ApicBits.LvtMasked;
            }

            return;
        }

        _hidden.Disabled &= ~HvmHwLapic.SoftwareDisabled;
        if (_host.DueUpcallVector is > 0 and var upcall)
        {
            Request(upcall); // it came while the APIC could not take it
        }
    }

    private void WriteLvt(uint register, uint value)
    {
        if (IsSoftwareDisabled)
        {
            value |= ApicBits.LvtMasked;
        }

        Register(register) = value & ApicBits.LvtWritableOf(register);
    }
}
