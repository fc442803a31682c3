using Iced.Intel;

namespace Introspect.Hypervisor.Tests.Cpu.Lockstep;

/// <summary>An encoded instruction and what a test must know of it to choose inputs.</summary>
internal sealed class InstructionTemplate
{
    private readonly Instruction _instruction;

    public InstructionTemplate(byte[] bytes)
    {
        Bytes = bytes;

        // What the decoder makes of the bytes, with sizes filled in. XCHG of rAX with itself is a NOP.
        _instruction = Decoder.Create(64, bytes).Decode();
    }

    public byte[] Bytes { get; }

    public ref readonly Instruction Instruction => ref _instruction;

    public Mnemonic Mnemonic => _instruction.Mnemonic;

    public string Text => _instruction.ToString();

    /// <summary>The explicit memory operand's number, or -1.</summary>
    public int MemoryOperand
    {
        get
        {
            for (var n = 0; n < _instruction.OpCount; n++)
            {
                if (_instruction.GetOpKind(n) == OpKind.Memory)
                {
                    return n;
                }
            }

            return -1;
        }
    }

    public bool IsBitString =>
        Mnemonic is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc
        && MemoryOperand == 0 && _instruction.GetOpKind(1) == OpKind.Register;
}
