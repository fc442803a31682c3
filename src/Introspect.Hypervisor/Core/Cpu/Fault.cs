using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Exception vectors.</summary>
internal static class Vector
{
    public const byte DivideError = 0;
    public const byte Debug = 1;
    public const byte Nmi = 2;
    public const byte Breakpoint = 3;
    public const byte Overflow = 4;
    public const byte BoundRange = 5;
    public const byte InvalidOpcode = 6;
    public const byte DeviceNotAvailable = 7;
    public const byte DoubleFault = 8;
    public const byte InvalidTss = 10;
    public const byte SegmentNotPresent = 11;
    public const byte StackFault = 12;
    public const byte GeneralProtection = 13;
    public const byte PageFault = 14;
    public const byte MathFault = 16;
    public const byte AlignmentCheck = 17;
    public const byte MachineCheck = 18;
    public const byte SimdFault = 19;
}

/// <summary>Raises exceptions as data: the pending event is filled and the chain told to stop. All return false.</summary>
internal static unsafe class Fault
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool Raise(CpuState* s, byte vector)
    {
        s->Pending = new PendingEvent { Valid = true, Vector = vector, Type = EventType.HardwareException };
        s->Stop = StopReason.Fault;
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool Raise(CpuState* s, byte vector, uint errorCode)
    {
        s->Pending = new PendingEvent
        {
            Valid = true,
            Vector = vector,
            Type = EventType.HardwareException,
            HasErrorCode = true,
            ErrorCode = errorCode,
        };
        s->Stop = StopReason.Fault;
        return false;
    }

    /// <summary>#PF: CR2 is written when it is delivered.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool PageFault(CpuState* s, ulong linear, uint errorCode)
    {
        Raise(s, Vector.PageFault, errorCode);
        s->Pending.Payload = linear;
        return false;
    }

    public static bool InvalidOpcode(CpuState* s) => Raise(s, Vector.InvalidOpcode);

    public static bool GeneralProtection(CpuState* s, uint errorCode) => Raise(s, Vector.GeneralProtection, errorCode);

    /// <summary>#SS(0) or #GP(0) by the segment of the access.</summary>
    public static bool Segment(CpuState* s, SegmentIndex segment) =>
        Raise(s, segment == SegmentIndex.Ss ? Vector.StackFault : Vector.GeneralProtection, 0);
}
