using System.Globalization;
using System.Text;
using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Tests.Cpu.Bits;

/// <summary>
/// Runs text cases twice: one instruction by careful steps, and as a block that ends in HLT. Everything that a
/// case does not name must stay as it was: registers, flags and the megabyte of memory.
/// </summary>
internal sealed unsafe class TextCaseRunner : IDisposable
{
    private const int FirstByte = 0x10000;
    private const int EndByte = 0x100000;
    private const int MostSteps = 1000;
    private readonly BareMachine _machine = new(2);
    private readonly byte[] _before = new byte[EndByte - FirstByte];
    private readonly ulong[] _registers = new ulong[16];
    private ulong _start;
    private uint _flags;

    /// <summary>Runs a case; null, or what was wrong.</summary>
    public string? Run(TextCase test)
    {
        var text = Decode(test);
        if (text != test.Assembly)
        {
            return $"the bytes are '{text}'";
        }

        Prepare(test);
        var s = _machine.State;
        var steps = 0;
        do
        {
            _machine.Cpu.EmulateOne(AccessOverride.None);
        }
        while (s->Rip == _start && !s->Pending.Valid && ++steps < MostSteps);

        var failure = Check(test, FaultText(s));
        if (failure != null)
        {
            return "by steps: " + failure;
        }

        var fault = FaultText(s);
        Prepare(test);
        var exit = _machine.Cpu.Run(MostSteps).Kind;
        var expected = fault == null ? ExitKind.Hlt : ExitKind.TripleFault; // there is no IDT
        failure = exit == expected ? Check(test, fault) : $"exit {exit} in place of {expected}";
        return failure == null ? null : "as a block: " + failure;
    }

    public void Dispose() => _machine.Dispose();

    private static string Decode(TextCase test)
    {
        var bitness = test.Mode switch { "real" or "16" => 16, "64" => 64, _ => 32 };
        var decoder = Iced.Intel.Decoder.Create(bitness, test.Bytes);
        decoder.IP = CodeOffset(test.Mode);
        var instruction = decoder.Decode();
        return instruction.Length == test.Bytes.Length ? instruction.ToString() : $"{instruction} and more";
    }

    private static ulong CodeOffset(string mode) => mode is "flat" or "64" ? 0x10100u : 0x100;

    private void Prepare(TextCase test)
    {
        var s = _machine.State;
        _machine.Cpu.Reset();
        new Span<byte>(_machine.Ram, EndByte).Clear();
        EnterMode(test.Mode);
        for (var n = 0; n < 16; n++)
        {
            s->Gpr[n] = 0x1000_0000UL + ((ulong)n * 0x0101_0101);
        }

        s->Gpr[4] = test.Mode is "flat" or "64" ? 0x41000u : 0x1000;
        s->Rip = _start = CodeOffset(test.Mode);

        // Wherever a branch goes, it ends; the zeroed rest of the megabyte is data.
        var code = _machine.Ram + 0x10000;
        new Span<byte>(code, 0x10000).Fill(0xF4);
        test.Bytes.CopyTo(new Span<byte>(code + 0x100, test.Bytes.Length));
        var flags = 0u;
        foreach (var word in test.Inputs)
        {
            Apply(word, ref flags);
        }

        Flags.Write(s, flags, RFlags.Arithmetic | RFlags.Df);
        s->IdtrLimit = 0;
        _machine.Cpu.StateChanged();
        _machine.Cpu.DropCode(FirstByte >> 12);
        Snapshot();
    }

    private void EnterMode(string mode)
    {
        var s = _machine.State;
        if (mode == "64")
        {
            _machine.EnterLongMode();
            return;
        }

        var flat = mode == "flat";
        s->Cr0 = mode == "real" ? 0x10u : 0x11;
        for (var n = SegmentIndex.Es; n <= SegmentIndex.Gs; n++)
        {
            // CS, DS, ES, SS, FS, GS from 0x10000, 0x20000, … 0x60000.
            var place = n switch
            {
                SegmentIndex.Cs => 1u,
                SegmentIndex.Ds => 2u,
                SegmentIndex.Es => 3u,
                SegmentIndex.Ss => 4u,
                SegmentIndex.Fs => 5u,
                _ => 6u,
            };
            *s->Seg(n) = new Segment
            {
                Selector = (ushort)(mode == "real" ? place << 12 : place << 3),
                Base = flat ? 0 : place << 16,
                Limit = flat ? ~0u : 0xFFFF,
                Attributes = (n == SegmentIndex.Cs ? 0x9Bu : 0x93) | (flat || mode == "32" ? Segment.Default32 : 0) | (flat ? Segment.Granularity : 0),
            };
        }

        if (mode == "32")
        {
            s->Seg(SegmentIndex.Cs)->Limit = ~0u; // so that blocks run as blocks
        }
    }

    private void Apply(string word, ref uint flags)
    {
        var (name, value) = Split(word);
        if (name.Contains(':', StringComparison.Ordinal))
        {
            Convert.FromHexString(value).CopyTo(new Span<byte>(_machine.Ram + Linear(name), value.Length / 2));
        }
        else if (name.Contains('.', StringComparison.Ordinal))
        {
            ApplySegment(name, (uint)TextCase.Hex(value));
        }
        else if (CaseNames.Flag(name) is var bit and not 0)
        {
            flags = value == "0" ? flags & ~bit : flags | bit;
        }
        else if (!CaseNames.TrySet(new Span<ulong>(_machine.State->Gpr, 16), name, TextCase.Hex(value)))
        {
            throw new FormatException($"'{name}' is no register, flag, segment or address");
        }
    }

    private void ApplySegment(string name, uint value)
    {
        var parts = name.Split('.');
        var index = CaseNames.Segment(parts[0]) ?? throw new FormatException($"'{name}' names no segment");
        var segment = _machine.State->Seg(index);
        switch (parts[^1])
        {
            case "base":
                segment->Base = value;
                break;
            case "limit":
                segment->Limit = value;
                break;
            case "attr":
                segment->Attributes = value;
                break;
            default:
                throw new FormatException($"'{name}' is none of base, limit, attr");
        }
    }

    private void Snapshot()
    {
        var s = _machine.State;
        new Span<ulong>(s->Gpr, 16).CopyTo(_registers);
        _flags = Flags.Read(s);
        new Span<byte>(_machine.Ram + FirstByte, _before.Length).CopyTo(_before);
    }

    /// <summary>Compares with what the case says and, for the rest, with what was before.</summary>
    private string? Check(TextCase test, string? fault)
    {
        var s = _machine.State;
        var compared = RFlags.Arithmetic | RFlags.Df;
        var flags = _flags;
        var ip = fault == null ? _start + (ulong)test.Bytes.Length : _start;
        string? expectedFault = null;
        foreach (var word in test.Outputs)
        {
            if (word[0] == '#')
            {
                expectedFault = word;
                ip = _start;
                continue;
            }

            var (name, value) = Split(word);
            if (CaseNames.Flag(name) is var bit and not 0)
            {
                compared &= value == "?" ? ~bit : ~0u;
                flags = value == "1" ? flags | bit : flags & ~bit;
            }
            else if (name == "ip")
            {
                ip = TextCase.Hex(value);
            }
            else if (name.Contains(':', StringComparison.Ordinal))
            {
                Convert.FromHexString(value).CopyTo(_before.AsSpan((int)(Linear(name) - FirstByte)));
            }
            else if (!CaseNames.TrySet(_registers, name, TextCase.Hex(value)))
            {
                throw new FormatException($"line {test.Line}: '{name}' is no register, flag or address");
            }
        }

        var text = new StringBuilder();
        if (fault != expectedFault)
        {
            text.Append(CultureInfo.InvariantCulture, $" {fault ?? "no fault"} in place of {expectedFault ?? "no fault"};");
        }

        for (var n = 0; n < 16; n++)
        {
            if (s->Gpr[n] != _registers[n])
            {
                text.Append(CultureInfo.InvariantCulture, $" {CaseNames.Register(n)}={s->Gpr[n]:x} in place of {_registers[n]:x};");
            }
        }

        if (s->Rip != ip)
        {
            text.Append(CultureInfo.InvariantCulture, $" ip={s->Rip:x} in place of {ip:x};");
        }

        if (((Flags.Read(s) ^ flags) & compared) != 0)
        {
            text.Append(CultureInfo.InvariantCulture, $" flags {CaseNames.FlagText(Flags.Read(s))} in place of {CaseNames.FlagText(flags)};");
        }

        CheckMemory(text);
        return text.Length == 0 ? null : text.ToString().Trim(' ', ';');
    }

    private void CheckMemory(StringBuilder text)
    {
        var after = new ReadOnlySpan<byte>(_machine.Ram + FirstByte, _before.Length);
        for (var n = after.CommonPrefixLength(_before); n < after.Length; n++)
        {
            if (after[n] != _before[n])
            {
                text.Append(CultureInfo.InvariantCulture, $" byte at {FirstByte + n:x} is {after[n]:x2} in place of {_before[n]:x2};");
            }
        }
    }

    /// <summary>The linear address of "segment:offset"; after the ':' the offset wraps nowhere.</summary>
    private ulong Linear(string name)
    {
        var parts = name.Split(':');
        var index = CaseNames.Segment(parts[0]) ?? throw new FormatException($"'{name}' is no address");
        return _machine.State->Seg(index)->Base + TextCase.Hex(parts[1]);
    }

    private static string? FaultText(CpuState* s)
    {
        if (!s->Pending.Valid)
        {
            return null;
        }

        var name = s->Pending.Vector switch
        {
            Vector.DivideError => "DE",
            Vector.BoundRange => "BR",
            Vector.InvalidOpcode => "UD",
            Vector.StackFault => "SS",
            Vector.GeneralProtection => "GP",
            _ => s->Pending.Vector.ToString(CultureInfo.InvariantCulture),
        };
        return s->Pending.HasErrorCode ? $"#{name}({s->Pending.ErrorCode:x})" : $"#{name}";
    }

    private static (string Name, string Value) Split(string word)
    {
        var at = word.IndexOf('=', StringComparison.Ordinal);
        return at > 0 ? (word[..at], word[(at + 1)..]) : throw new FormatException($"'{word}' is not of the form name=value");
    }
}
