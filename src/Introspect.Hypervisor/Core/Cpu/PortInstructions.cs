using Introspect.Hypervisor.Core.Cpu.SystemMode;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>IN, OUT, INS and OUTS: permission checks here, the access itself is an exit.</summary>
internal static unsafe class PortInstructions
{
    private const int Rdx = 2;

    public static SlowOutcome In(CpuState* s, Insn* i) => Simple(s, i, IoFlags.In, 0);

    public static SlowOutcome Out(CpuState* s, Insn* i) =>
        Simple(s, i, default, s->Gpr[0] & (i->OperandSize == 1 ? 0xFFUL : i->OperandSize == 2 ? 0xFFFF : 0xFFFFFFFF));

    public static SlowOutcome Ins(CpuState* s, Insn* i) => String(s, i, IoFlags.In, SegmentIndex.Es, 7);

    public static SlowOutcome Outs(CpuState* s, Insn* i) => String(s, i, default, (SegmentIndex)i->Seg, 6);

    private static SlowOutcome Simple(CpuState* s, Insn* i, IoFlags flags, ulong value)
    {
        // R2 tells the immediate form, whose port is in Imm.
        var immediate = i->R2 != 0;
        var port = immediate ? (ushort)i->Imm : (ushort)s->Gpr[Rdx];
        if (!IoPrivilege.Check(s, port, i->OperandSize))
        {
            return SlowOutcome.Stopped;
        }

        s->Exit = new Exit
        {
            Kind = ExitKind.Io,
            Index = port,
            Operand = (byte)((byte)flags | i->OperandSize | (immediate ? (byte)IoFlags.Immediate : 0)),
            Access = (CrAccess)(CpuModes.Is64(s) ? 8 : (s->Mode & CpuMode.Code32) != 0 ? 4 : 2),
            Value = value,
        };
        s->Stop = StopReason.Exit;
        return SlowOutcome.Stopped;
    }

    private static SlowOutcome String(CpuState* s, Insn* i, IoFlags flags, SegmentIndex segment, int register)
    {
        var mask = i->AddressSize switch { 2 => 0xFFFFUL, 4 => 0xFFFFFFFF, _ => ~0UL };
        var repeated = (i->Flags & (InsnFlags.Rep | InsnFlags.Repne)) != 0;
        if (repeated && (s->Gpr[1] & mask) == 0)
        {
            return SlowOutcome.Boundary;
        }

        var size = i->OperandSize;
        var input = (flags & IoFlags.In) != 0;
        var port = (ushort)s->Gpr[Rdx];
        if (!IoPrivilege.Check(s, port, size)
            || !Access.Linear(s, segment, s->Gpr[register] & mask, size, input, out var linear)
            || !(input ? Access.ProbeWrite(s, linear, size) : Access.Read(s, linear, size, out _)))
        {
            return SlowOutcome.Stopped;
        }

        ulong value = 0;
        if (!input && !Access.Read(s, linear, size, out value))
        {
            return SlowOutcome.Stopped;
        }

        s->Exit = new Exit
        {
            Kind = ExitKind.Io,
            Index = port,
            Operand = (byte)((byte)flags | size | (byte)IoFlags.String | (repeated ? (byte)IoFlags.Rep : 0)),
            Access = (CrAccess)i->AddressSize,
            Value = value,
            Gla = linear,
            Form = (uint)segment,
        };
        s->Stop = StopReason.Exit;
        return SlowOutcome.Stopped;
    }

    /// <summary>
    /// Finishes an input or output that a device answered: the register or memory gets the input, string
    /// registers move, RIP goes on when nothing is left to repeat. False when a fault is pending.
    /// </summary>
    public static bool Complete(CpuState* s, in Exit exit, ulong input)
    {
        var flags = (IoFlags)exit.Operand;
        var size = exit.Operand & (int)IoFlags.SizeMask;
        if ((flags & IoFlags.String) == 0)
        {
            if ((flags & IoFlags.In) != 0)
            {
                SlowHandlers.SetRegister(s, 0, size, input);
            }

            s->Rip = Registers.NextRip(s, exit.InsnLength);
            return true;
        }

        var isInput = (flags & IoFlags.In) != 0;
        s->Stop = StopReason.None;
        if (isInput && !Access.Write(s, exit.Gla, size, input))
        {
            return false;
        }

        var addressSize = (int)exit.Access;
        var register = isInput ? 7 : 6;
        var step = (s->FlagsOther & RFlags.Df) != 0 ? 0UL - (ulong)size : (ulong)size;
        SlowHandlers.SetRegister(s, (ushort)(register * 8), addressSize, s->Gpr[register] + step);
        if ((flags & IoFlags.Rep) != 0)
        {
            SlowHandlers.SetRegister(s, 8, addressSize, s->Gpr[1] - 1);
            var mask = addressSize switch { 2 => 0xFFFFUL, 4 => 0xFFFFFFFF, _ => ~0UL };
            if ((s->Gpr[1] & mask) != 0)
            {
                return true; // RIP stays: the next iteration exits again
            }
        }

        s->Rip = Registers.NextRip(s, exit.InsnLength);
        return true;
    }
}
