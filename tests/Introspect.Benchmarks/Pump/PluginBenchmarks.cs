using Introspect.Benchmarks.Measuring;
using Introspect.Benchmarks.Pump;
using Introspect.Daemon.Plugins;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Plugins;
using Introspect.Rules.Pump;

[assembly: HandlerPlugin("bench", typeof(BenchPlugin), ApiVersion = PluginApi.Version)]

namespace Introspect.Benchmarks.Pump;

/// <summary>What an event costs the pump whose one handler is a plugin's: in the same process, and in one of its own.</summary>
internal static class PluginBenchmarks
{
    private const int EventsPerSample = 20_000;
    private const int WarmUps = 3;

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    public static IEnumerable<Benchmark> All =>
    [
        new("plugin-none", "event", TimeBase.Wall, effort => Measure(effort, PluginIsolation.None)),
        new("plugin-process", "event", TimeBase.Wall, effort => Measure(effort, PluginIsolation.Process)),
    ];

    private static Sample[] Measure(Effort effort, PluginIsolation isolation)
    {
        var ring = new LoopRing(PumpBenchmarks.Requests(), EventsPerSample / effort.Divisor, WarmUps, effort.Repetitions);
        using var domain = new LoopDomain(ring);
        var entry = new PluginEntry { Name = "bench", Folder = PluginFolder.Open(typeof(BenchPlugin).Assembly.Location), Isolation = isolation, AnswerTimeout = Patience };
        using var plugin = PluginInstance.Start(entry, PluginSet.ThisProgram, (_, line) => Console.Error.WriteLine(line));
        using var handler = plugin.CreateHandler(domain.GetInfo());
        using var pump = new EventPump(domain, [new(handler)], new PumpOptions { RecordPolicy = RecordPolicy.None, HandlerBudget = Patience });
        pump.Start();
        var samples = ring.Finish(Patience);
        var denied = ring.Denied;
        pump.Stop();
        return denied > 0 && pump.Statistics.HandlerFailures == 0 ? samples : throw new InvalidOperationException("the plugin denied nothing, or failed");
    }
}

/// <summary>A plugin that does next to nothing, so that the way to it is what is measured.</summary>
public sealed class BenchPlugin : IHandlerPlugin
{
    /// <inheritdoc/>
    public IEventHandler Create(PluginContext context) => new Handler();

    private sealed class Handler : IEventHandler
    {
        private const ulong Smep = 1 << 20;

        public string Name => "bench";

        public void Subscribe(SubscriptionBuilder subscription) => subscription
            .ControlRegister(ControlRegisterIndex.Cr0)
            .ControlRegister(ControlRegisterIndex.Cr3)
            .ControlRegister(ControlRegisterIndex.Cr4, mayDeny: true)
            .Msr(0xc0000082)
            .Cpuid();

        public Verdict Handle(ref readonly VmEvent request, ref HandlerContext context) =>
            request.Reason == VmEventReason.WriteCtrlreg && (request.WriteCtrlreg.OldValue & ~request.WriteCtrlreg.NewValue & Smep) != 0 && request.WriteCtrlreg.Index == ControlRegisterIndex.Cr4
                ? Verdict.Deny
                : Verdict.Pass;
    }
}
