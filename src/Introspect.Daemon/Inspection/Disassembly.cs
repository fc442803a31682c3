using System.Globalization;
using System.Text;
using Iced.Intel;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Symbols;

namespace Introspect.Daemon.Inspection;

/// <summary>Code as lines: address, bytes, instruction, with the names of the image.</summary>
internal static class Disassembly
{
    private const int MaxInstructionBytes = 15;
    private const int BytesColumn = 24;

    /// <summary>Appends instructions, until there are so many or the code ends.</summary>
    /// <exception cref="UserError">The first instruction is not mapped.</exception>
    public static void Append(StringBuilder text, InspectedVcpu vcpu, ulong address, int count)
    {
        var formatter = new IntelFormatter(vcpu.Symbols is { } symbols ? new Resolver(symbols) : null);
        var options = formatter.Options;
        (options.HexPrefix, options.HexSuffix, options.UppercaseHex, options.SmallHexNumbersInDecimal) = ("0x", "", false, false);
        (options.SpaceAfterOperandSeparator, options.RipRelativeAddresses, options.ShowSymbolAddress, options.BranchLeadingZeros) = (true, true, true, false);
        (options.DisplacementLeadingZeros, options.SignedImmediateOperands) = (false, false);
        var output = new StringOutput();
        Span<byte> code = stackalloc byte[MaxInstructionBytes];
        for (var i = 0; i < count; i++)
        {
            var length = vcpu.TryRead(address, code);
            if (length == 0)
            {
                if (i == 0)
                {
                    throw vcpu.NotThere(address);
                }

                text.Append(CultureInfo.InvariantCulture, $"                    (0x{address:x} is not mapped)\n");
                return;
            }

            if (vcpu.Symbols is not null && vcpu.Symbols.TryFind(address, out var name, out var offset) && (offset == 0 || i == 0))
            {
                text.Append(CultureInfo.InvariantCulture, $"{name}{(offset == 0 ? "" : $"+0x{offset:x}")}:\n");
            }

            var decoder = Iced.Intel.Decoder.Create(vcpu.Bitness, new ByteArrayCodeReader(code[..length].ToArray()), address);
            decoder.Decode(out var instruction);
            var bytes = code[..(instruction.IsInvalid ? 1 : instruction.Length)];
            text.Append(address == vcpu.Rip ? "=> " : "   ").Append(CultureInfo.InvariantCulture, $"{address:x16}  ");
            text.Append(Convert.ToHexStringLower(bytes).PadRight(BytesColumn)).Append("  ");
            if (instruction.IsInvalid)
            {
                text.Append("(bad)");
            }
            else
            {
                formatter.Format(in instruction, output);
                text.Append(output.ToStringAndReset());
            }

            text.Append('\n');
            address = unchecked(address + (ulong)bytes.Length);
        }
    }

    private sealed class Resolver(ISymbolSource symbols) : ISymbolResolver
    {
        public bool TryGetSymbol(in Instruction instruction, int operand, int instructionOperand, ulong address, int addressSize, out SymbolResult symbol)
        {
            // A small immediate that lies where the image does is a number all the same.
            var isAddress = instruction.IsIPRelativeMemoryOperand
                || instruction.FlowControl is FlowControl.Call or FlowControl.ConditionalBranch or FlowControl.UnconditionalBranch
                || addressSize == 8 || address >= 0x1000;
            if (isAddress && symbols.TryFind(address, out var name, out var offset))
            {
                symbol = new(address - offset, name);
                return true;
            }

            symbol = default;
            return false;
        }
    }
}
