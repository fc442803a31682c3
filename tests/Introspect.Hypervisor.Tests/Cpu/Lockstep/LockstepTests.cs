using System.Globalization;
using System.Text;
using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Tests.Cpu.Lockstep;

/// <summary>Every user-mode integer instruction against the processor that the tests run on.</summary>
public sealed unsafe class LockstepTests
{
    private const int Seed = 20240607;
    private const int TemplatesOfAForm = 5;
    private const int CasesOfATemplate = 60;
    private static readonly string[] Names =
        ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

    [NativeProcessorFact]
    public void Registers_memory_and_flags_are_those_of_the_processor()
    {
        var random = new Random(Seed);
        var templates = TemplateFactory.MakeAll(random, TemplatesOfAForm);
        using var native = new NativeProcessor(templates.Count);
        using var machine = new LockstepMachine();
        for (var page = 0; page < NativeProcessor.ScratchPages; page++)
        {
            machine.Map(native.Scratch + (ulong)(page * 4096));
        }

        machine.Map(native.StackTop & ~0xFFFUL);
        foreach (var template in templates)
        {
            Assert.Equal(native.Add(template.Bytes), machine.Add(template.Bytes));
        }

        native.Seal();
        var failures = new SortedDictionary<string, (int Count, string First)>(StringComparer.Ordinal);
        var inputs = new LockstepCase(random, native.Scratch, native.StackTop);
        var compared = 0;
        for (var slot = 0; slot < templates.Count; slot++)
        {
            for (var n = 0; n < CasesOfATemplate; n++)
            {
                if (!inputs.Draw(templates[slot]))
                {
                    continue;
                }

                if (n % 16 == 0)
                {
                    machine.Flush();
                }

                compared++;
                var failure = Compare(templates[slot], slot, inputs, native, machine);
                if (failure != null)
                {
                    var name = templates[slot].Instruction.Code.ToString();
                    failures[name] = failures.TryGetValue(name, out var known) ? (known.Count + 1, known.First) : (1, failure);
                }
            }
        }

        Assert.True(compared > 100_000, $"only {compared} cases were compared");
        Assert.True(failures.Count == 0, Report(failures));
    }

    private static string? Compare(
        InstructionTemplate template, int slot, LockstepCase inputs, NativeProcessor native, LockstepMachine machine)
    {
        ref readonly var i = ref template.Instruction;
        var window = new Span<byte>((void*)inputs.Window, LockstepCase.WindowBytes);
        var stack = new Span<byte>((void*)inputs.StackWindow, LockstepCase.StackBytes);
        inputs.Memory.CopyTo(window);
        inputs.Stack.CopyTo(stack);
        ToGuest(machine, inputs.Window, inputs.Memory);
        ToGuest(machine, inputs.StackWindow, inputs.Stack);
        var expected = inputs.Registers;
        native.Run(slot, &expected);
        var actual = inputs.Registers;
        var stopped = machine.Run(slot, &actual);
        var mask = (RFlags.Arithmetic | RFlags.Df) & ~DefinedFlags.UndefinedFor(in i, inputs.ShiftCount(in i));
        var text = new StringBuilder();
        if (stopped != null)
        {
            text.Append(CultureInfo.InvariantCulture, $"\n    the interpreter stopped: {stopped}");
        }

        for (var n = 0; n < 16; n++)
        {
            if (expected.Gpr[n] != actual.Gpr[n])
            {
                text.Append(CultureInfo.InvariantCulture, $"\n    {Names[n]} is {actual.Gpr[n]:x16}, the processor's {expected.Gpr[n]:x16}");
            }
        }

        if (((expected.Flags ^ actual.Flags) & mask) != 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"\n    flags are {actual.Flags & mask:x3}, the processor's {expected.Flags & mask:x3} (compared: {mask:x3})");
        }

        CompareMemory(text, machine, inputs.Window, window);
        CompareMemory(text, machine, inputs.StackWindow, stack);
        return text.Length == 0 ? null : Describe(template, inputs) + text;
    }

    private static void ToGuest(LockstepMachine machine, ulong linear, ReadOnlySpan<byte> bytes)
    {
        var first = Math.Min(bytes.Length, 4096 - (int)(linear & 0xFFF));
        bytes[..first].CopyTo(new Span<byte>(machine.At(linear), first));
        if (first < bytes.Length)
        {
            bytes[first..].CopyTo(new Span<byte>(machine.At(linear + (uint)first), bytes.Length - first));
        }
    }

    private static void CompareMemory(StringBuilder text, LockstepMachine machine, ulong linear, ReadOnlySpan<byte> expected)
    {
        var first = Math.Min(expected.Length, 4096 - (int)(linear & 0xFFF));
        if (expected[..first].SequenceEqual(new ReadOnlySpan<byte>(machine.At(linear), first))
            && (first == expected.Length
                || expected[first..].SequenceEqual(new ReadOnlySpan<byte>(machine.At(linear + (uint)first), expected.Length - first))))
        {
            return;
        }

        for (var n = 0; n < expected.Length; n++)
        {
            var actual = *machine.At(linear + (uint)n);
            if (actual != expected[n])
            {
                text.Append(CultureInfo.InvariantCulture, $"\n    byte at {linear + (uint)n:x} is {actual:x2}, the processor's {expected[n]:x2}");
            }
        }
    }

    private static string Describe(InstructionTemplate template, LockstepCase inputs)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{template.Text}  [{Convert.ToHexString(template.Bytes)}], seed {Seed}, flags {inputs.Registers.Flags:x3}");
        if (template.MemoryOperand >= 0)
        {
            text.Append(CultureInfo.InvariantCulture, $", operand at {inputs.Operand:x} = {inputs.Value(in template.Instruction, template.MemoryOperand):x}");
        }

        for (var n = 0; n < 16; n++)
        {
            text.Append(CultureInfo.InvariantCulture, $"{(n % 4 == 0 ? "\n    " : " ")}{Names[n]}={inputs.Registers.Gpr[n]:x16}");
        }

        return text.ToString();
    }

    private static string Report(SortedDictionary<string, (int Count, string First)> failures)
    {
        var text = new StringBuilder();
        foreach (var (name, (count, first)) in failures)
        {
            text.Append(CultureInfo.InvariantCulture, $"\n{name}: {count} cases differ, the first: {first}");
        }

        return text.ToString();
    }

    private sealed class NativeProcessorFactAttribute : FactAttribute
    {
        public NativeProcessorFactAttribute() => Skip = NativeProcessor.Unsuitable;
    }
}
