using Iced.Intel;
using Introspect.Benchmarks.Measuring;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Tests.Cpu;

namespace Introspect.Benchmarks.Interpreter;

/// <summary>The interpreter alone, on flat memory without a domain.</summary>
internal static class InterpreterBenchmarks
{
    private const ulong Entry = 0x10_0000;
    private const int Megabytes = 64;
    private const long InstructionsPerSample = 40_000_000;
    private const int WarmUps = 4;

    public static IEnumerable<Benchmark> All =>
    [
        Loop("cpu-arithmetic", Kernels.Arithmetic),
        Loop("cpu-branch", Kernels.Branches),
        Loop("cpu-call", Kernels.Calls),
        Loop("cpu-copy", Kernels.Copy),
        Loop("cpu-random-1m", Kernels.RandomAccess(1 << 20)),
        Loop("cpu-random-16m", Kernels.RandomAccess(16 << 20)),
        Loop("cpu-cr3-switch", Kernels.AddressSpaceSwitches, "CR3 write", Kernels.SwitchTurn),
        new("cpu-fresh-code", "instruction", TimeBase.Cpu, RunOnce),
    ];

    private static Benchmark Loop(string name, Action<Assembler> kernel, string operation = "instruction", int instructionsPerOperation = 1) =>
        new(name, operation, TimeBase.Cpu, effort => Measure(kernel, effort, instructionsPerOperation));

    private static Sample[] Measure(Action<Assembler> kernel, Effort effort, int instructionsPerOperation)
    {
        using var machine = SmallPages(new BareMachine(Megabytes).EnterLongMode(Entry)).Code(Entry, kernel);
        var budget = InstructionsPerSample / effort.Divisor / instructionsPerOperation;
        for (var n = 0; n < WarmUps; n++)
        {
            Run(machine, budget);
        }

        var samples = new Sample[effort.Repetitions];
        for (var n = 0; n < samples.Length; n++)
        {
            var watch = StopWatch.Start();
            var instructions = Run(machine, budget);
            samples[n] = watch.Stop(instructions / instructionsPerOperation);
        }

        return samples;
    }

    private static unsafe long Run(BareMachine machine, long budget)
    {
        var before = machine.State->Retired;
        var kind = machine.Cpu.Run(budget).Kind;
        if (kind != ExitKind.Budget)
        {
            throw new InvalidOperationException($"the kernel left with {kind} at {machine.State->Rip:x}");
        }

        return (long)(machine.State->Retired - before);
    }

    /// <summary>Code that no cache knows: what decoding and binding an instruction takes, with one run of it.</summary>
    private static Sample[] RunOnce(Effort effort)
    {
        var samples = new Sample[effort.Repetitions];
        for (var n = -WarmUps; n < samples.Length; n++)
        {
            using var machine = SmallPages(new BareMachine(Megabytes).EnterLongMode(Entry)).Code(Entry, Kernels.RunOnce);
            var watch = StopWatch.Start();
            var kind = machine.Cpu.Run(long.MaxValue).Kind;
            var sample = watch.Stop(Kernels.RunOnceInstructions);
            if (kind != ExitKind.Hlt)
            {
                throw new InvalidOperationException($"the code left with {kind} instead of reaching its end");
            }

            if (n >= 0)
            {
                samples[n] = sample;
            }
        }

        return samples;
    }

    /// <summary>Maps all of memory by 4 KiB pages; the tables are at its end.</summary>
    private static unsafe BareMachine SmallPages(BareMachine machine)
    {
        const ulong Directory = 0x3000;
        const int TableEntries = 512;
        var pages = machine.Bytes >> 12;
        var tables = (ulong)machine.Bytes - ((ulong)pages * 8);
        for (var n = 0; n < pages; n++)
        {
            *(ulong*)(machine.Ram + tables + ((ulong)n * 8)) = ((ulong)n << 12) | 7;
        }

        for (var n = 0; n < pages / TableEntries; n++)
        {
            *(ulong*)(machine.Ram + Directory + ((ulong)n * 8)) = (tables + ((ulong)n << 12)) | 7;
        }

        machine.Cpu.StateChanged();
        return machine;
    }
}
