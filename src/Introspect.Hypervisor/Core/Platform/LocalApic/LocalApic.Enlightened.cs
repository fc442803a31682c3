namespace Introspect.Hypervisor.Core.Platform.Apic;

/// <summary>The registers that a guest reaches without going through the page or x2APIC mode, and EOIs that are left out.</summary>
internal sealed partial class LocalApic
{
    /// <summary>What spares the guest EOIs; null: nothing does.</summary>
    public IApicAssist? Assist { get; set; }

    /// <summary>The interrupt command register, both halves. Writing it sends.</summary>
    public ulong InterruptCommand
    {
        get => ((ulong)Register(ApicRegister.CommandHigh) << 32) | Register(ApicRegister.CommandLow);
        set
        {
            if (IsX2)
            {
                Register(ApicRegister.CommandHigh) = (uint)(value >> 32); // a destination of 32 bits
            }
            else
            {
                WriteRegister(ApicRegister.CommandHigh, (uint)(value >> 32));
            }

            WriteRegister(ApicRegister.CommandLow, (uint)value);
        }
    }

    /// <summary>The task priority register.</summary>
    public uint TaskPriority
    {
        get => Register(ApicRegister.TaskPriority);
        set => WriteRegister(ApicRegister.TaskPriority, value);
    }

    /// <summary>
    /// End of interrupt. One that the guest left out, since it was spared it, comes first: this one is then for the
    /// interrupt below.
    /// </summary>
    public void EndOfInterrupt()
    {
        var missed = Assist?.TakeCompleted() ?? false;
        if (Highest(ApicRegister.InService) < 0)
        {
            return;
        }

        if (!missed)
        {
            Assist?.Withdraw();
        }

        EndInService();
        if (missed)
        {
            Assist!.Withdraw();
            EndInService();
        }
    }

    /// <summary>The highest in service is done.</summary>
    private void EndInService()
    {
        var vector = Highest(ApicRegister.InService);
        if (vector >= 0)
        {
            Vectors(ApicRegister.InService, vector / 32) &= ~(1u << (vector % 32));
        }
    }

    // Xen ends a spared interrupt by the EOI that it emulates: nothing is below it, or it would not have been spared.
    private void EndSparedInterrupt()
    {
        if (Assist is { } assist && assist.TakeCompleted())
        {
            assist.Withdraw();
            EndInService();
        }
    }

    private bool GoesIntoService(byte vector)
    {
        if (Assist is not { } assist)
        {
            return true;
        }

        var level = (Volatile.Read(ref Vectors(ApicRegister.TriggerMode, vector / 32)) & (1u << (vector % 32))) != 0;
        if (!level && vector > ApicBits.FirstVector && Highest(ApicRegister.InService) < 0)
        {
            assist.Offer();
        }

        return !assist.EndsByItself(vector);
    }
}
