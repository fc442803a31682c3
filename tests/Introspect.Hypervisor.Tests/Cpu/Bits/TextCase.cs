using System.Globalization;
using System.Text;
using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Tests.Cpu.Bits;

/// <summary>
/// One line of a text file of instruction cases: <c>bytes | assembly | in → out</c>. Both sides are words of the form
/// name=value in hexadecimal; see the head of the files.
/// </summary>
internal sealed class TextCase
{
    private TextCase(int line, string mode, byte[] bytes, string assembly, string[] inputs, string[] outputs)
    {
        Line = line;
        Mode = mode;
        Bytes = bytes;
        Assembly = assembly;
        Inputs = inputs;
        Outputs = outputs;
    }

    public int Line { get; }

    public string Mode { get; }

    public byte[] Bytes { get; }

    public string Assembly { get; }

    public string[] Inputs { get; }

    public string[] Outputs { get; }

    /// <summary>Reads the cases of a file. A line that is no case, comment or mode is an error.</summary>
    public static List<TextCase> Parse(IEnumerable<string> lines)
    {
        var cases = new List<TextCase>();
        var mode = "";
        var number = 0;
        foreach (var raw in lines)
        {
            number++;
            var line = raw.Trim();
            if (line.Length == 0 || line[0] == '#')
            {
                continue;
            }

            if (line[0] == '@')
            {
                mode = line[1..].Trim();
                continue;
            }

            var parts = line.Split('|');
            var sides = parts[^1].Split('→');
            if (parts.Length != 3 || sides.Length != 2)
            {
                throw new FormatException($"line {number}: expected 'bytes | assembly | in → out'");
            }

            cases.Add(new TextCase(
                number, mode, Convert.FromHexString(parts[0].Trim()), parts[1].Trim(), Words(sides[0]), Words(sides[1])));
        }

        return cases;
    }

    public static ulong Hex(string text) => ulong.Parse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    private static string[] Words(string text) => text.Split(' ', StringSplitOptions.RemoveEmptyEntries);
}

/// <summary>What a case names, by name: registers and their parts, flags, segments.</summary>
internal static class CaseNames
{
    private static readonly string[] Words = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
    private static readonly string[] Low = ["al", "cl", "dl", "bl"];
    private static readonly string[] High = ["ah", "ch", "dh", "bh"];
    private static readonly string[] Segments = ["es", "cs", "ss", "ds", "fs", "gs"];

    public static readonly (string Name, uint Bit)[] Flags =
    [
        ("cf", RFlags.Cf), ("pf", RFlags.Pf), ("af", RFlags.Af), ("zf", RFlags.Zf), ("sf", RFlags.Sf), ("of", RFlags.Of), ("df", RFlags.Df),
    ];

    /// <summary>Writes a register or a part of one; false when the name is none.</summary>
    public static bool TrySet(Span<ulong> registers, string name, ulong value)
    {
        if (!TryFind(name, out var number, out var shift, out var bits))
        {
            return false;
        }

        var mask = bits == 64 ? ~0UL : (1UL << bits) - 1;
        registers[number] = (registers[number] & ~(mask << shift)) | ((value & mask) << shift);
        return true;
    }

    public static uint Flag(string name)
    {
        foreach (var (flag, bit) in Flags)
        {
            if (flag == name)
            {
                return bit;
            }
        }

        return 0;
    }

    /// <summary>A segment register, or null.</summary>
    public static SegmentIndex? Segment(string name) =>
        Array.IndexOf(Segments, name) is var n and >= 0 ? (SegmentIndex)n : null;

    /// <summary>Name of a general register's low 32 bits.</summary>
    public static string Register(int number) => number < 8 ? "e" + Words[number] : $"r{number}";

    public static string FlagText(uint flags)
    {
        var text = new StringBuilder();
        foreach (var (name, bit) in Flags)
        {
            text.Append((flags & bit) != 0 ? name.ToUpperInvariant() : name).Append(' ');
        }

        return text.ToString().TrimEnd();
    }

    private static bool TryFind(string name, out int number, out int shift, out int bits)
    {
        shift = 0;
        (number, bits) = (Array.IndexOf(Words, name), 16);
        if (number < 0 && name.Length == 3)
        {
            // A 32-bit name stands for the whole register, whose upper half is then 0.
            (number, bits) = (Array.IndexOf(Words, name[1..]), name[0] is 'e' or 'r' ? 64 : 0);
        }

        if (number < 0)
        {
            (number, bits) = (Array.IndexOf(Low, name), 8);
        }

        if (number < 0)
        {
            (number, bits, shift) = (Array.IndexOf(High, name), 8, 8);
        }

        return number >= 0 && bits != 0;
    }
}
