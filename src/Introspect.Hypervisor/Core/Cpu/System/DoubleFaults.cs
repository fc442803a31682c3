namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>What two exceptions make together (Intel SDM vol. 3, tables 6-4 and 6-5).</summary>
internal static unsafe class DoubleFaults
{
    private const byte VirtualizationException = 20;
    private const byte ControlProtection = 21;

    private enum ExceptionClass
    {
        Benign,
        Contributory,
        PageFault,
        DoubleFault,
    }

    /// <summary>
    /// Turns <see cref="CpuState.Pending"/>, raised while another event was delivered, into what comes next: itself or
    /// a double fault. False: a triple fault.
    /// </summary>
    public static bool Combine(CpuState* s, in PendingEvent first)
    {
        var firstClass = ClassOf(in first);
        var secondClass = ClassOf(in s->Pending);
        if (firstClass == ExceptionClass.DoubleFault && secondClass != ExceptionClass.Benign)
        {
            return false;
        }

        var isDouble = (firstClass, secondClass) is
            (ExceptionClass.Contributory, ExceptionClass.Contributory)
            or (ExceptionClass.PageFault, ExceptionClass.Contributory or ExceptionClass.PageFault);
        if (isDouble)
        {
            if (secondClass == ExceptionClass.PageFault && s->Pending.Vector == Vector.PageFault)
            {
                s->Cr2 = s->Pending.Payload; // it happened, though nobody is told
            }

            Fault.Raise(s, Vector.DoubleFault, 0);
        }

        return true;
    }

    private static ExceptionClass ClassOf(in PendingEvent e)
    {
        if (e.Type != EventType.HardwareException)
        {
            return ExceptionClass.Benign;
        }

        return e.Vector switch
        {
            Vector.DivideError or Vector.InvalidTss or Vector.SegmentNotPresent or Vector.StackFault
                or Vector.GeneralProtection or ControlProtection => ExceptionClass.Contributory,
            Vector.PageFault or VirtualizationException => ExceptionClass.PageFault,
            Vector.DoubleFault => ExceptionClass.DoubleFault,
            _ => ExceptionClass.Benign,
        };
    }
}
