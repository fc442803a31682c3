using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Monitoring;

/// <summary>Which flags of a response mean something: what Xen looks at for each reason, and what it passes over.</summary>
internal static class AnswerCheck
{
    /// <summary>Every flag that the interface has.</summary>
    private const VmEventFlags Known = (VmEventFlags)0xffff;

    /// <summary>Flags of requests, which responses echo: they ask for nothing.</summary>
    private const VmEventFlags Echoed = VmEventFlags.Foreign | VmEventFlags.NestedP2m | VmEventFlags.AlternateP2m;

    /// <summary>Flags that qualify EMULATE.</summary>
    private const VmEventFlags Emulation = VmEventFlags.EmulateNoWrite | VmEventFlags.SetEmulReadData | VmEventFlags.SetEmulInsnData;

    /// <summary>Counts bits that are no flag.</summary>
    public static void CountUnknown(AnswerFaults faults, in VmEvent response)
    {
        if ((response.Flags & ~Known) != 0)
        {
            faults.Count(AnswerFault.UnknownFlags);
        }
    }

    /// <summary>Counts a response that asks for something on behalf of a vCPU which waits for none. Those to async events ask for nothing.</summary>
    public static void CountNotWaiting(AnswerFaults faults, in VmEvent response)
    {
        // A fork is reset whether the vCPU waits or not.
        var asked = response.Flags & Known & ~(Echoed | VmEventFlags.ResetForkState | VmEventFlags.ResetForkMemory);
        if (asked == VmEventFlags.None)
        {
            return;
        }

        faults.Count(AnswerFault.NotWaiting);
        if ((asked & VmEventFlags.Deny) != 0)
        {
            faults.Count(AnswerFault.IgnoredDeny);
        }
    }

    /// <summary>Flags of a response which mean nothing for its reason, or not with the others.</summary>
    /// <param name="response">The response.</param>
    /// <param name="canStep">The vCPU can be stepped.</param>
    public static VmEventFlags Meaningless(in VmEvent response, bool canStep)
    {
        var flags = response.Flags;
        var useful = VmEventFlags.VcpuPaused | Echoed | VmEventFlags.SetRegisters | VmEventFlags.GetNextInterrupt
            | VmEventFlags.ResetForkState | VmEventFlags.ResetForkMemory | UsefulEmulation(response.Reason, flags);
        if (canStep)
        {
            // Both at once: the first wins.
            useful |= (flags & VmEventFlags.ToggleSinglestep) != 0 ? VmEventFlags.ToggleSinglestep : VmEventFlags.FastSinglestep;
        }

        if (response.Reason is VmEventReason.WriteCtrlreg or VmEventReason.MovToMsr)
        {
            useful |= VmEventFlags.Deny;
        }

        var meaningless = flags & Known & ~useful;
        if ((flags & VmEventFlags.SetRegisters) != 0)
        {
            // One piece of the response holds either registers or data.
            meaningless |= flags & (VmEventFlags.SetEmulReadData | VmEventFlags.SetEmulInsnData);
        }

        return meaningless;
    }

    private static VmEventFlags UsefulEmulation(VmEventReason reason, VmEventFlags flags)
    {
        if ((flags & VmEventFlags.Emulate) == 0)
        {
            return VmEventFlags.None;
        }

        switch (reason)
        {
            case VmEventReason.MemAccess or VmEventReason.DescriptorAccess:
                // Data come before dropped writes.
                return VmEventFlags.Emulate
                    | ((flags & VmEventFlags.SetEmulReadData) != 0 ? VmEventFlags.SetEmulReadData : VmEventFlags.EmulateNoWrite);
            case VmEventReason.SoftwareBreakpoint when (flags & Emulation) == VmEventFlags.SetEmulInsnData:
                return VmEventFlags.Emulate | VmEventFlags.SetEmulInsnData;
            default:
                return VmEventFlags.None;
        }
    }
}
