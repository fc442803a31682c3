using Iced.Intel;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>String instructions.</summary>
internal static unsafe partial class Binder
{
    private static bool BindString(in Instruction ins, Insn* i, BindContext context, out bool ends)
    {
        ends = false;
        if (!ins.IsStringInstruction)
        {
            return false;
        }

        delegate*<CpuState*, Insn*, SlowOutcome> function;
        switch (ins.Mnemonic)
        {
            case Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsd or Mnemonic.Movsq:
                function = &StringInstructions.Movs;
                break;
            case Mnemonic.Stosb or Mnemonic.Stosw or Mnemonic.Stosd or Mnemonic.Stosq:
                function = &StringInstructions.Stos;
                break;
            case Mnemonic.Lodsb or Mnemonic.Lodsw or Mnemonic.Lodsd or Mnemonic.Lodsq:
                function = &StringInstructions.Lods;
                break;
            case Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq:
                function = &StringInstructions.Scas;
                break;
            case Mnemonic.Cmpsb or Mnemonic.Cmpsw or Mnemonic.Cmpsd or Mnemonic.Cmpsq:
                function = &StringInstructions.Cmps;
                break;
            case Mnemonic.Insb or Mnemonic.Insw or Mnemonic.Insd:
                function = &PortInstructions.Ins;
                ends = true;
                break;
            case Mnemonic.Outsb or Mnemonic.Outsw or Mnemonic.Outsd:
                function = &PortInstructions.Outs;
                ends = true;
                break;
            default:
                return false;
        }

        i->OperandSize = (byte)ins.MemorySize.GetSize();
        i->AddressSize = StringAddressSize(in ins);
        BindSegment(i, HasSource(ins.Mnemonic) ? DataSegment(in ins, context) : SegmentIndex.Es, context);
        BindSlow(i, function);
        return true;
    }

    private static bool HasSource(Mnemonic mnemonic) =>
        mnemonic is not (Mnemonic.Stosb or Mnemonic.Stosw or Mnemonic.Stosd or Mnemonic.Stosq
            or Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq
            or Mnemonic.Insb or Mnemonic.Insw or Mnemonic.Insd);

    private static byte StringAddressSize(in Instruction ins)
    {
        for (var n = 0; n < ins.OpCount; n++)
        {
            switch (ins.GetOpKind(n))
            {
                case OpKind.MemorySegSI or OpKind.MemoryESDI or OpKind.MemorySegDI:
                    return 2;
                case OpKind.MemorySegESI or OpKind.MemoryESEDI or OpKind.MemorySegEDI:
                    return 4;
                case OpKind.MemorySegRSI or OpKind.MemoryESRDI or OpKind.MemorySegRDI:
                    return 8;
                default:
                    break;
            }
        }

        return 8;
    }
}
