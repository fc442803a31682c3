using System.Numerics;
using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>What a guest's hypercalls do.</summary>
internal interface IViridianHypercallContext
{
    /// <summary>How many vCPUs there are.</summary>
    uint VcpuCount { get; }

    /// <summary>Reads guest-physical memory. False: not all of it is RAM.</summary>
    bool TryReadPhysical(ulong gpa, Span<byte> destination);

    /// <summary>The caller lets others run.</summary>
    void Yield();

    /// <summary>Makes vCPUs forget their translations, and returns when none uses an old one.</summary>
    void FlushTlbs(UInt128 vcpus);

    /// <summary>Requests an interrupt of a vCPU's local APIC when that is enabled.</summary>
    void Interrupt(uint vcpuId, byte vector);
}

/// <summary>A hypercall's three registers: what to do, and where input and output are, or the input itself.</summary>
/// <param name="Input">Call code, flags and counts.</param>
/// <param name="First">Guest-physical address of the input, or its first 8 bytes.</param>
/// <param name="Second">Guest-physical address of the output, or the next 8 bytes.</param>
internal readonly record struct ViridianCall(ulong Input, ulong First, ulong Second);

/// <summary>
/// Viridian's hypercalls as Xen 4.17 does them. Which of them a guest is advised to use follows from its features; it
/// may make them all.
/// </summary>
internal static class ViridianHypercalls
{
    /// <summary>Bit of RAX that tells these from Xen's.</summary>
    public const uint NumberBit = 0x8000_0000;

    /// <summary>Most vCPUs of a domain (<c>HVM_MAX_VCPUS</c>).</summary>
    public const int MaxVcpus = 128;

    private const ushort FlushAddressSpace = 0x02, FlushAddressList = 0x03, LongSpinWait = 0x08, SendIpi = 0x0B,
        FlushAddressSpaceEx = 0x13, FlushAddressListEx = 0x14, SendIpiEx = 0x15;
    private const ushort InvalidCode = 2, InvalidParameter = 5;
    private const ulong FastBit = 1 << 16;
    private const int RepeatCountShift = 32;
    private const ulong RepeatMask = 0xFFF;
    private const ulong AllProcessors = 1;
    private const ulong SparseSet = 0, SetOfAll = 1;
    private const int BanksOfFlush = 32, BanksOfIpi = 24;
    private const int ProcessorsOfBank = 64, MostBanks = 64;
    private const uint FirstVector = 0x10, LastVector = 0xFF;

    /// <summary>Does a call.</summary>
    /// <returns>Result in bits 0–15, repetitions done in bits 32–43.</returns>
    public static ulong Do(in ViridianCall call, IViridianHypercallContext context)
    {
        switch ((ushort)call.Input)
        {
            case LongSpinWait:
                context.Yield();
                return 0;
            case FlushAddressSpace or FlushAddressList:
                return Flush(in call, context);
            case FlushAddressSpaceEx or FlushAddressListEx:
                return FlushEx(in call, context);
            case SendIpi:
                return Send(in call, context);
            case SendIpiEx:
                return SendEx(in call, context);
            default:
                return InvalidCode;
        }
    }

    private static bool IsFast(in ViridianCall call) => (call.Input & FastBit) != 0;

    private static ulong Repeated(in ViridianCall call) => ((call.Input >> RepeatCountShift) & RepeatMask) << RepeatCountShift;

    private static ulong Flush(in ViridianCall call, IViridianHypercallContext context)
    {
        if (IsFast(in call) || !TryRead(context, call.First, out FlushInput input))
        {
            return InvalidParameter;
        }

        context.FlushTlbs((input.Flags & AllProcessors) != 0 ? UInt128.MaxValue : input.Processors);
        return Repeated(in call);
    }

    private static ulong FlushEx(in ViridianCall call, IViridianHypercallContext context)
    {
        if (IsFast(in call) || !TryRead(context, call.First, out FlushExInput input))
        {
            return InvalidParameter;
        }

        var processors = UInt128.MaxValue;
        if ((input.Flags & AllProcessors) == 0 && !TryReadSet(context, input.Format, input.Banks, call.First + BanksOfFlush, out processors))
        {
            return InvalidParameter;
        }

        context.FlushTlbs(processors);
        return Repeated(in call);
    }

    private static ulong Send(in ViridianCall call, IViridianHypercallContext context)
    {
        if (IsFast(in call))
        {
            return call.First > uint.MaxValue ? InvalidParameter : Interrupt(context, (uint)call.First, call.Second);
        }

        return TryRead(context, call.First, out IpiInput input) && input.MustBeZero == 0
            ? Interrupt(context, input.Vector, input.Processors)
            : InvalidParameter;
    }

    private static ulong SendEx(in ViridianCall call, IViridianHypercallContext context) =>
        !IsFast(in call) && TryRead(context, call.First, out IpiExInput input) && input.MustBeZero == 0 && IsVector(input.Vector)
            && TryReadSet(context, input.Format, input.Banks, call.First + BanksOfIpi, out var processors)
            ? Interrupt(context, input.Vector, processors)
            : InvalidParameter;

    private static bool IsVector(uint vector) => vector is >= FirstVector and <= LastVector;

    private static ulong Interrupt(IViridianHypercallContext context, uint vector, UInt128 processors)
    {
        if (!IsVector(vector))
        {
            return InvalidParameter;
        }

        for (var vcpu = 0u; vcpu < context.VcpuCount; vcpu++)
        {
            if (((processors >> (int)vcpu) & 1) != 0)
            {
                context.Interrupt(vcpu, (byte)vector);
            }
        }

        return 0;
    }

    /// <summary>A set of processors: all, or banks of 64 of which those in the mask follow one another.</summary>
    private static bool TryReadSet(IViridianHypercallContext context, ulong format, ulong banks, ulong address, out UInt128 processors)
    {
        processors = UInt128.MaxValue;
        if (format == SetOfAll)
        {
            return true;
        }

        Span<ulong> contents = stackalloc ulong[MostBanks];
        contents = contents[..BitOperations.PopCount(banks)];
        if (format != SparseSet || !context.TryReadPhysical(address, MemoryMarshal.AsBytes(contents)))
        {
            return false;
        }

        processors = 0;
        var next = 0;
        for (var bank = 0; bank < MostBanks; bank++)
        {
            if (((banks >> bank) & 1) == 0)
            {
                continue;
            }

            // Processors that no domain has are left out.
            if (bank < MaxVcpus / ProcessorsOfBank)
            {
                processors |= (UInt128)contents[next] << (bank * ProcessorsOfBank);
            }

            next++;
        }

        return true;
    }

    private static bool TryRead<T>(IViridianHypercallContext context, ulong gpa, out T value)
        where T : unmanaged
    {
        value = default;
        return context.TryReadPhysical(gpa, MemoryMarshal.AsBytes(new Span<T>(ref value)));
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct FlushInput
    {
        public ulong AddressSpace;
        public ulong Flags;
        public ulong Processors;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct FlushExInput
    {
        public ulong AddressSpace;
        public ulong Flags;
        public ulong Format;
        public ulong Banks;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct IpiInput
    {
        public uint Vector;

        /// <summary>The virtual trust level, and three bytes that are reserved.</summary>
        public uint MustBeZero;
        public ulong Processors;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct IpiExInput
    {
        public uint Vector;
        public uint MustBeZero;
        public ulong Format;
        public ulong Banks;
    }
}
