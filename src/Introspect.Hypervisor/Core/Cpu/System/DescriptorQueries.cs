namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>VERR, VERW, LAR, LSL and ARPL: questions about selectors that answer in ZF. RIP is not touched.</summary>
internal static unsafe class DescriptorQueries
{
    /// <summary>VERR: could this level read through the selector?</summary>
    public static bool Verr(CpuState* s, ushort selector) =>
        Look(s, selector, out var found, out var d)
        && Answer(s, found && !d.IsSystem && IsReachable(s, selector, in d) && d.IsReadable);

    /// <summary>VERW: could this level write through the selector?</summary>
    public static bool Verw(CpuState* s, ushort selector) =>
        Look(s, selector, out var found, out var d)
        && Answer(s, found && IsReachable(s, selector, in d) && d.IsWritableData);

    /// <summary>LAR: the access rights, where the selector may be looked at.</summary>
    public static bool Lar(CpuState* s, ushort selector, int register, int operandSize)
    {
        if (!Look(s, selector, out var found, out var d))
        {
            return false;
        }

        found = found && (!d.IsSystem || HasRights(s, d.SystemType)) && IsReachable(s, selector, in d);
        if (found)
        {
            Registers.Write(s, register, operandSize, (d.Low >> 32) & (operandSize == 2 ? 0xFF00UL : 0xFFFF00));
        }

        return Answer(s, found);
    }

    /// <summary>LSL: the limit in bytes, where the selector may be looked at.</summary>
    public static bool Lsl(CpuState* s, ushort selector, int register, int operandSize)
    {
        if (!Look(s, selector, out var found, out var d))
        {
            return false;
        }

        found = found && (!d.IsSystem || HasLimit(s, d.SystemType)) && IsReachable(s, selector, in d);
        if (found)
        {
            Registers.Write(s, register, operandSize, d.Limit);
        }

        return Answer(s, found);
    }

    /// <summary>ARPL: raises the RPL of the destination to that of the source. The caller stores the result when ZF is set.</summary>
    public static bool Arpl(CpuState* s, ushort destination, ushort source, out ushort result)
    {
        result = destination;
        if (CpuModes.IsRealOrVm86(s))
        {
            return Fault.InvalidOpcode(s);
        }

        var raised = Selectors.Rpl(destination) < Selectors.Rpl(source);
        if (raised)
        {
            result = Selectors.WithRpl(destination, Selectors.Rpl(source));
        }

        return Answer(s, raised);
    }

    /// <summary>Reads the descriptor if there is one; false on a fault of the table's page or #UD without protection.</summary>
    private static bool Look(CpuState* s, ushort selector, out bool found, out Descriptor descriptor)
    {
        found = false;
        descriptor = default;
        if (CpuModes.IsRealOrVm86(s))
        {
            return Fault.InvalidOpcode(s);
        }

        if (Selectors.IsNull(selector) || !DescriptorTables.Locate(s, selector, 8, out var linear))
        {
            return true;
        }

        found = Access.ReadSystem(s, linear, 8, out var low);
        descriptor = new Descriptor(low, 0, linear);
        return found;
    }

    private static bool IsReachable(CpuState* s, ushort selector, in Descriptor d) =>
        d.IsConforming || (s->Cpl <= d.Dpl && Selectors.Rpl(selector) <= d.Dpl);

    private static bool HasRights(CpuState* s, SystemType type) =>
        HasLimit(s, type) || type == SystemType.CallGate
        || (!CpuModes.IsLongMode(s) && type is SystemType.CallGate16 or SystemType.TaskGate);

    private static bool HasLimit(CpuState* s, SystemType type) =>
        type is SystemType.Ldt or SystemType.TssAvailable or SystemType.TssBusy
        || (!CpuModes.IsLongMode(s) && type is SystemType.Tss16Available or SystemType.Tss16Busy);

    private static bool Answer(CpuState* s, bool yes)
    {
        Flags.Write(s, yes ? RFlags.Zf : 0, RFlags.Zf);
        return true;
    }
}
