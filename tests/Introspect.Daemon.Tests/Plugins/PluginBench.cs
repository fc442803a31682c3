using System.Collections.Concurrent;
using Introspect.Daemon.Plugins;
using Introspect.Daemon.Tests.Service;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Plugins;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;
using Introspect.Rules.Tests.Pump;

namespace Introspect.Daemon.Tests.Plugins;

/// <summary>The test plugin on a pump with a mock domain, behaving as it is told.</summary>
internal sealed class PluginBench : IDisposable
{
    /// <summary>What sets the plugin off: a CPUID leaf, or a value written to CR4.</summary>
    public const uint Trigger = 0xbad;

    private readonly ConcurrentQueue<string> _log = new();

    public PluginBench(string behaviour, PluginIsolation isolation, FailPolicy fail = FailPolicy.Open, PumpOptions? options = null, TimeSpan? timeout = null, int memoryMiB = 256)
    {
        Plugin = PluginInstance.Start(EntryOf(behaviour, isolation, timeout, memoryMiB), PluginSet.ThisProgram, (_, line) => _log.Enqueue(line));
        try
        {
            Handler = Plugin.CreateHandler(new MockDomain().GetInfo());

            // A machine that is busy elsewhere must not count as a slow plugin.
            Rig = new PumpRig(options ?? new() { HandlerBudget = TimeSpan.FromMinutes(5) }, new HandlerRegistration(Handler, FailPolicy: fail)).Start();
        }
        catch
        {
            Plugin.Dispose();
            throw;
        }
    }

    /// <summary>Where the build put the test plugin.</summary>
    public static string Folder
    {
        get
        {
            var output = new DirectoryInfo(AppContext.BaseDirectory);
            return Repository.PathOf("tests", "Introspect.TestPlugin", "bin", output.Parent!.Name, output.Name);
        }
    }

    public static VmEvent TriggeringCr4Write => Requests.ControlRegister(ControlRegisterIndex.Cr4, 0x300000, Trigger);

    public static VmEvent HarmlessCr4Write => Requests.ControlRegister(ControlRegisterIndex.Cr4, 0x300000, 0x300020);

    public PluginInstance Plugin { get; }

    public PluginHandler Handler { get; }

    public PumpRig Rig { get; }

    public HandlerStatistics Statistics => Rig.Pump.Statistics.Handlers[0];

    public IEnumerable<string> Log => _log;

    public static PluginEntry EntryOf(string behaviour, PluginIsolation isolation, TimeSpan? timeout = null, int memoryMiB = 256, string? folder = null) => new()
    {
        Name = "test",
        Folder = PluginFolder.Open(folder ?? Folder),
        Isolation = isolation,
        Config = new Dictionary<string, string?> { ["behaviour"] = behaviour, ["leaf"] = "0xbad" },
        AnswerTimeout = timeout ?? TimeSpan.FromMinutes(5),
        MemoryMiB = memoryMiB,
    };

    /// <summary>Pushes a request and waits for its answer.</summary>
    public VmEvent Exchange(VmEvent request) => Rig.Exchange(request)[0];

    /// <summary>Waits until the plugin's process runs, for the so manieth time anew.</summary>
    public Task Restarted(long times) => ServiceHarness.Until(() => Plugin.Counts is { IsUp: true } counts && counts.Restarts >= times);

    public void Dispose()
    {
        Rig.Dispose();
        Handler.Dispose();
        Plugin.Dispose();
    }
}

/// <summary>Tests that load the plugin into this process look at what is loaded: one after the other.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class PluginCollection
{
    public const string Name = "plugins";
}
