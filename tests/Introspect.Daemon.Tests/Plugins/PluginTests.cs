using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Plugins;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;
using static Introspect.Daemon.Tests.Plugins.PluginBench;

namespace Introspect.Daemon.Tests.Plugins;

/// <summary>What a plugin can do, wherever it runs.</summary>
[Collection(PluginCollection.Name)]
public sealed class PluginTests
{
    public static TheoryData<string> Isolations => ["Process", "None"];

    [Theory]
    [MemberData(nameof(Isolations))]
    public void A_verdict_is_the_plugins(string isolation)
    {
        using var bench = new PluginBench("deny", Of(isolation));
        Assert.Equal(VmEventFlags.Deny, bench.Exchange(HarmlessCr4Write).Flags & VmEventFlags.Deny);
        Assert.Equal(VmEventFlags.None, bench.Exchange(Requests.Cpuid()).Flags & VmEventFlags.Deny);
        Assert.Equal((2, 1, 0), (bench.Statistics.Calls, bench.Statistics.Decisions, bench.Statistics.Failures));
        Assert.Equal("test", bench.Statistics.Name);
    }

    [Theory]
    [MemberData(nameof(Isolations))]
    public void Registers_are_those_that_the_plugin_set(string isolation)
    {
        using var bench = new PluginBench("set_registers", Of(isolation));
        var response = bench.Exchange(Requests.Cpuid(Trigger));
        Assert.Equal(~(ulong)Trigger, response.Registers.Rax);
        Assert.Equal(Requests.Cpuid().Registers.Rbx, response.Registers.Rbx);
        Assert.True(response.Flags.HasFlag(VmEventFlags.SetRegisters));
    }

    [Theory]
    [MemberData(nameof(Isolations))]
    public void A_plugin_reads_and_writes_memory_and_injects(string isolation)
    {
        using var bench = new PluginBench("ask_domain", Of(isolation));
        var bytes = new byte[100_000];
        new Random(7).NextBytes(bytes);
        bench.Rig.Domain.Memory.WritePhysical(new(0x1000), bytes);

        var response = bench.Exchange(Requests.Cpuid(Trigger));

        var copy = new byte[bytes.Length];
        bench.Rig.Domain.Memory.ReadPhysical(new(0x40000), copy);
        Assert.Equal(bytes, copy);
        Assert.Equal((ulong)bytes.Sum(b => b), response.Registers.Rax);
        Assert.Equal((ulong)Errno.EFAULT, response.Registers.Rbx);
        Assert.Equal(bench.Rig.Domain.GetInfo().MemoryBytes, response.Registers.Rcx);
        Assert.Equal((0u, (byte)6), Assert.Single(bench.Rig.Domain.Traps) is var (vcpu, trap) ? (vcpu, trap.Vector) : default);
        Assert.Equal(0, bench.Statistics.Failures);
    }

    [Theory]
    [MemberData(nameof(Isolations))]
    public void A_plugin_that_throws_is_answered_for_and_named(string isolation)
    {
        using var bench = new PluginBench("throw", Of(isolation), FailPolicy.Closed);
        Assert.True(bench.Exchange(TriggeringCr4Write).Flags.HasFlag(VmEventFlags.Deny));
        Assert.Equal((1, 1), (bench.Statistics.Failures, bench.Statistics.StandIns));
        var told = Assert.Single(bench.Rig.Diagnostics.Of(PumpDiagnosticKind.HandlerFailed));
        Assert.Equal("test", told.Handler);
        Assert.Contains("as it was told", told.Message, StringComparison.Ordinal);
        Assert.False(bench.Exchange(HarmlessCr4Write).Flags.HasFlag(VmEventFlags.Deny));
    }

    [Theory]
    [MemberData(nameof(Isolations))]
    public void A_slow_plugin_is_disabled_for_a_while_and_counted(string isolation)
    {
        // On a clock of its own: the plugin takes as long as it likes, and each event takes a second.
        var clock = new SteppingClock();
        using var bench = new PluginBench("pass", Of(isolation), FailPolicy.Closed, new()
        {
            HandlerBudget = TimeSpan.FromMilliseconds(1),
            BreakerThreshold = 2,
            BreakerSlowShare = 0,
            BreakerWindow = TimeSpan.FromHours(10),
            BreakerCoolDown = TimeSpan.FromHours(1),
            Clock = clock,
        });
        Assert.False(bench.Exchange(HarmlessCr4Write).Flags.HasFlag(VmEventFlags.Deny));
        Assert.False(bench.Exchange(HarmlessCr4Write).Flags.HasFlag(VmEventFlags.Deny));
        Assert.True(bench.Statistics.IsDisabled);
        Assert.Equal((2, 2, 1, 0), (bench.Statistics.Calls, bench.Statistics.Overruns, bench.Statistics.BreakerTrips, bench.Statistics.StandIns));

        Assert.True(bench.Exchange(HarmlessCr4Write).Flags.HasFlag(VmEventFlags.Deny));
        Assert.Equal((2, 1), (bench.Statistics.Calls, bench.Statistics.StandIns));

        clock.Skip(TimeSpan.FromHours(2));
        Assert.False(bench.Exchange(HarmlessCr4Write).Flags.HasFlag(VmEventFlags.Deny));
        Assert.Equal(3, bench.Statistics.Calls);
    }

    [Theory]
    [MemberData(nameof(Isolations))]
    public void A_plugin_that_refuses_a_domain_says_why(string isolation)
    {
        var refused = Assert.Throws<PluginException>(() => new PluginBench("refuse_domain", Of(isolation)));
        Assert.Contains("domain mock is not to its taste", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Isolations))]
    public void A_plugins_own_dependency_is_found_beside_it(string isolation)
    {
        using var bench = new PluginBench("use_dependency", Of(isolation));
        Assert.Equal(0x5eedul, bench.Exchange(Requests.Cpuid(Trigger)).Registers.Rax);
    }

    [Theory]
    [MemberData(nameof(Isolations))]
    public void A_dependency_that_is_missing_is_named(string isolation)
    {
        var copy = Directory.CreateTempSubdirectory("introspect-plugin-").FullName;
        try
        {
            foreach (var file in Directory.GetFiles(Folder).Where(file => !file.Contains(".Needed.", StringComparison.Ordinal)))
            {
                File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
            }

            using var plugin = PluginInstance.Start(EntryOf("use_dependency", Of(isolation), folder: copy), Daemon.Plugins.PluginSet.ThisProgram, (_, _) => { });
            var refused = Assert.Throws<PluginException>(() => plugin.CreateHandler(new MockDomain().GetInfo()));
            Assert.Contains("it needs Introspect.TestPlugin.Needed, which is not beside it", refused.Message, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(copy, recursive: true);
        }
    }

    private static PluginIsolation Of(string isolation) => Enum.Parse<PluginIsolation>(isolation);

    /// <summary>A clock that moves on by a second whenever it is looked at.</summary>
    private sealed class SteppingClock : TimeProvider
    {
        private long _now = TimeSpan.TicksPerDay;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Interlocked.Add(ref _now, TimeSpan.TicksPerSecond);

        public void Skip(TimeSpan time) => Interlocked.Add(ref _now, time.Ticks);
    }
}
