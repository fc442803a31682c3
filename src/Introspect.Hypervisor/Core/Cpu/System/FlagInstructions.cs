namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>CLI, STI, PUSHF and POPF, whose rights depend on mode, CPL, IOPL, VME and PVI. RIP is not touched.</summary>
internal static unsafe class FlagInstructions
{
    private const uint Common = RFlags.Arithmetic | RFlags.Tf | RFlags.Df | RFlags.Nt;
    private const int Iopl3 = 3;

    /// <summary>CLI (Intel SDM vol. 2, table 3-7).</summary>
    public static bool Cli(CpuState* s)
    {
        if (MayChangeIf(s))
        {
            Flags.Write(s, 0, RFlags.If);
            return true;
        }

        if (!HasVif(s))
        {
            return Fault.GeneralProtection(s, 0);
        }

        VirtualInterrupts.SetVif(s, false);
        return true;
    }

    /// <summary>STI: where it sets IF, the next instruction runs before an interrupt is taken.</summary>
    public static bool Sti(CpuState* s)
    {
        if (MayChangeIf(s))
        {
            if ((s->FlagsOther & RFlags.If) == 0)
            {
                s->Shadow |= CpuShadow.Sti;
            }

            Flags.Write(s, RFlags.If, RFlags.If);
            return true;
        }

        if (!HasVif(s) || (s->FlagsOther & RFlags.Vip) != 0)
        {
            return Fault.GeneralProtection(s, 0);
        }

        VirtualInterrupts.SetVif(s, true);
        return true;
    }

    /// <summary>PUSHF, PUSHFD, PUSHFQ: VM and RF are pushed as 0.</summary>
    public static bool Pushf(CpuState* s, int operandSize)
    {
        var image = Flags.Read(s) & ~(RFlags.Vm | RFlags.Rf);
        if (IsRestrictedVm86(s))
        {
            if (operandSize != 2 || !VirtualInterrupts.IsVme(s))
            {
                return Fault.GeneralProtection(s, 0);
            }

            image = VirtualImage(image);
        }

        var stack = Stack.Current(s);
        if (!stack.Push(operandSize, image))
        {
            return false;
        }

        stack.Commit();
        return true;
    }

    /// <summary>POPF, POPFD, POPFQ. A flag that may not be changed keeps its value, without a fault.</summary>
    public static bool Popf(CpuState* s, int operandSize)
    {
        var restricted = IsRestrictedVm86(s);
        if (restricted && (operandSize != 2 || !VirtualInterrupts.IsVme(s)))
        {
            return Fault.GeneralProtection(s, 0);
        }

        var stack = Stack.Current(s);
        if (!stack.Peek(0, operandSize, out var popped))
        {
            return false;
        }

        var image = (uint)popped;
        if (restricted && !VirtualInterrupts.CheckImage(s, image))
        {
            return false;
        }

        stack.Discard(operandSize);
        stack.Commit();
        if (restricted)
        {
            Flags.Write(s, image, Common);
            VirtualInterrupts.SetVif(s, (image & RFlags.If) != 0);
            return true;
        }

        var mask = Common;
        var vm86 = (s->FlagsOther & RFlags.Vm) != 0;
        if (MayChangeIf(s))
        {
            mask |= RFlags.If;
        }

        if (!vm86 && s->Cpl == 0)
        {
            mask |= RFlags.Iopl;
        }

        if (operandSize > 2)
        {
            // RF is cleared; VIF and VIP too, but not in virtual-8086 mode.
            image &= ~(RFlags.Rf | RFlags.Vif | RFlags.Vip);
            mask |= RFlags.Ac | RFlags.Id | RFlags.Rf | (vm86 ? 0 : RFlags.Vif | RFlags.Vip);
        }

        Flags.Write(s, image, mask);
        CpuModes.Update(s);
        return true;
    }

    /// <summary>The flags as virtual-8086 code without the right to IF sees them: IOPL 3, VIF in place of IF.</summary>
    public static uint VirtualImage(uint flags) =>
        (flags & ~RFlags.If) | RFlags.Iopl | ((flags & RFlags.Vif) != 0 ? RFlags.If : 0);

    private static bool IsRestrictedVm86(CpuState* s) =>
        (s->FlagsOther & RFlags.Vm) != 0 && IoPrivilege.Iopl(s) < Iopl3;

    /// <summary>Real mode always; else CPL (3 in virtual-8086 mode) must not be above IOPL.</summary>
    private static bool MayChangeIf(CpuState* s) =>
        (s->Cr0 & CpuModes.Cr0Pe) == 0 || s->Cpl <= IoPrivilege.Iopl(s);

    private static bool HasVif(CpuState* s) =>
        (s->FlagsOther & RFlags.Vm) != 0 ? VirtualInterrupts.IsVme(s) : VirtualInterrupts.IsPvi(s);
}
