using System.Globalization;
using System.Text;
using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Tests.Cpu.Lockstep;

/// <summary>
/// Every user-mode integer instruction of 16- and 32-bit code against the processor that the tests run on: both
/// address sizes, segments with bases, and stacks of both sizes.
/// </summary>
public sealed unsafe class SegmentedLockstepTests
{
    private const int Seed = 20250311;
    private const int TemplatesOfAForm = 2;
    private const int CasesOfATemplate = 12;
    private const uint Memory = SegmentedLayout.Data;
    private const int MemoryBytes = 0x30000;
    private static readonly string[] Names = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];

    [SkippableFact]
    public void Code_of_32_bits_in_segments() => Check(new SegmentedMode(32, 32, Flat: false));

    [SkippableFact]
    public void Code_of_32_bits_on_a_16_bit_stack() => Check(new SegmentedMode(32, 16, Flat: false));

    [SkippableFact]
    public void Code_of_32_bits_in_flat_memory() => Check(new SegmentedMode(32, 32, Flat: true));

    [SkippableFact]
    public void Code_of_16_bits() => Check(new SegmentedMode(16, 16, Flat: false));

    [SkippableFact]
    public void Code_of_16_bits_on_a_32_bit_stack() => Check(new SegmentedMode(16, 32, Flat: false));

    private static void Check(SegmentedMode mode)
    {
        using var native = SegmentedProcessor.TryCreate(out var reason) ?? throw new InvalidOperationException(reason);
        using var machine = new SegmentedMachine();
        var random = new Random(Seed);
        var inputs = new SegmentedCase(random, mode);
        var failures = new SortedDictionary<string, (int Count, string First)>(StringComparer.Ordinal);
        var compared = 0;
        foreach (var template in new SegmentedTemplates(random, mode).Make(TemplatesOfAForm))
        {
            native.Place(template.Bytes, mode);
            machine.Place(template.Bytes, mode);
            for (var n = 0; n < CasesOfATemplate; n++)
            {
                inputs.Draw(template);
                Fill(random, machine, inputs);
                if (inputs.IsLeftOut(template))
                {
                    continue;
                }

                compared++;
                var failure = Compare(template, inputs, native, machine);
                if (failure != null)
                {
                    var name = template.Instruction.Code.ToString();
                    failures[name] = failures.TryGetValue(name, out var known) ? (known.Count + 1, known.First) : (1, failure);
                }
            }
        }

        Assert.True(compared > 10_000, $"only {compared} cases were compared");
        Assert.True(failures.Count == 0, Report(mode, failures));
    }

    /// <summary>The same bytes on both sides, around what the instruction can reach; inside of the segment.</summary>
    private static void Fill(Random random, SegmentedMachine machine, SegmentedCase inputs)
    {
        foreach (var place in inputs.Places)
        {
            var segment = place & 0xFFFF0000;
            var alike = random.Next(3) == 0;
            for (uint n = 0; n < SegmentedCase.WindowBytes; n++)
            {
                var linear = segment | ((place + n - (SegmentedCase.WindowBytes / 2)) & 0xFFFF);
                var value = alike ? (byte)(random.Next(40) == 0 ? 7 : 1) : (byte)random.Next();
                *(byte*)linear = value;
                *machine.At(linear) = value;
            }
        }
    }

    private static string? Compare(SegmentedTemplate template, SegmentedCase inputs, SegmentedProcessor native, SegmentedMachine machine)
    {
        var expected = inputs.Registers;
        native.Run(&expected);
        var actual = inputs.Registers;
        var stopped = machine.Run(&actual);
        var count = inputs.ShiftCount(in template.Instruction);
        var mask = (RFlags.Arithmetic | RFlags.Df) & ~SegmentedTemplates.Undefined(in template.Instruction, count);
        var text = new StringBuilder();
        if (stopped != null)
        {
            text.Append(CultureInfo.InvariantCulture, $"\n    the interpreter stopped: {stopped}");
        }

        for (var n = 0; n < 8; n++)
        {
            if (expected.Gpr[n] != actual.Gpr[n])
            {
                text.Append(CultureInfo.InvariantCulture, $"\n    {Names[n]} is {actual.Gpr[n]:x8}, the processor's {expected.Gpr[n]:x8}");
            }
        }

        if (((expected.Flags ^ actual.Flags) & mask) != 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"\n    flags are {actual.Flags & mask:x3}, the processor's {expected.Flags & mask:x3} (compared: {mask:x3})");
        }

        CompareMemory(text, machine);
        return text.Length == 0 ? null : Describe(template, inputs) + text;
    }

    /// <summary>All of the data segments. A difference is told once and mended.</summary>
    private static void CompareMemory(StringBuilder text, SegmentedMachine machine)
    {
        var expected = new ReadOnlySpan<byte>((byte*)Memory, MemoryBytes);
        var actual = new Span<byte>(machine.At(Memory), MemoryBytes);
        var at = expected.CommonPrefixLength(actual);
        if (at < MemoryBytes)
        {
            text.Append(CultureInfo.InvariantCulture, $"\n    from {Memory + (uint)at:x} on is {actual[at]:x2}, the processor's {expected[at]:x2}");
            expected.CopyTo(actual);
        }
    }

    private static string Describe(SegmentedTemplate template, SegmentedCase inputs)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{template.Instruction}  [{Convert.ToHexString(template.Bytes)}], seed {Seed}, flags {inputs.Registers.Flags:x3}, operand at {inputs.Operand:x}");
        for (var n = 0; n < 8; n++)
        {
            text.Append(CultureInfo.InvariantCulture, $"{(n % 4 == 0 ? "\n    " : " ")}{Names[n]}={inputs.Registers.Gpr[n]:x8}");
        }

        return text.ToString();
    }

    private static string Report(SegmentedMode mode, SortedDictionary<string, (int Count, string First)> failures)
    {
        var text = new StringBuilder(mode.ToString());
        foreach (var (name, (count, first)) in failures)
        {
            text.Append(CultureInfo.InvariantCulture, $"\n{name}: {count} cases differ, the first: {first}");
        }

        return text.ToString();
    }

    /// <summary>A test that is told to be skipped where the processor cannot be had.</summary>
    private sealed class SkippableFactAttribute : FactAttribute
    {
        private static readonly string? Reason = Probe();

        public SkippableFactAttribute() => Skip = Reason;

        private static string? Probe()
        {
            SegmentedProcessor.TryCreate(out var reason)?.Dispose();
            return reason;
        }
    }
}
