using System.Runtime.CompilerServices;
using System.Runtime.Loader;
using Introspect.Rules.Plugins;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;
using static Introspect.Daemon.Tests.Plugins.PluginBench;

namespace Introspect.Daemon.Tests.Plugins;

/// <summary>A plugin in the monitor's process leaves nothing there when it goes.</summary>
[Collection(PluginCollection.Name)]
public sealed class UnloadTests
{
    private const string ContextName = "plugin Introspect.TestPlugin";

    [Fact]
    public void A_plugin_that_a_pump_used_is_unloaded_when_another_takes_its_place()
    {
        var domain = new MockDomain();
        using var pump = new EventPump(domain, [], new PumpOptions { HandlerBudget = TimeSpan.FromMinutes(5) });
        pump.Start();
        for (var i = 0; i < 3; i++)
        {
            var context = UseOnce(domain, pump);
            Assert.True(IsCollected(context), "the plugin is still loaded");
        }

        Assert.DoesNotContain(AssemblyLoadContext.All, context => context.Name == ContextName);
    }

    [Fact]
    public void A_plugin_whose_settings_are_wrong_is_unloaded()
    {
        FailOnce();
        Assert.True(SpinWait.SpinUntil(
            () =>
            {
                Collect();
                return AssemblyLoadContext.All.All(context => context.Name != ContextName);
            },
            TimeSpan.FromSeconds(60)));
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static WeakReference UseOnce(MockDomain domain, EventPump pump)
    {
        using var plugin = PluginInstance.Start(EntryOf("deny", PluginIsolation.None), new("", []), (_, _) => { });
        var context = new WeakReference(AssemblyLoadContext.All.Single(context => context.Name == ContextName));
        using (var handler = plugin.CreateHandler(domain.GetInfo()))
        {
            pump.Apply(pump.Prepare([new(handler)]));
            var before = domain.Monitor.ResponseCount;
            domain.Monitor.PushAll(HarmlessCr4Write, Requests.Cpuid());
            domain.Monitor.WaitForResponses(before + 2);
            Assert.Equal(1, pump.Statistics.Handlers[0].Decisions);
            pump.Apply(pump.Prepare([]));
        }

        return context;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void FailOnce()
    {
        var entry = EntryOf("deny", PluginIsolation.None) with { Config = new Dictionary<string, string?> { ["level"] = "11" } };
        Assert.Throws<PluginOptionsException>(() => PluginInstance.Start(entry, new("", []), (_, _) => { }));
    }

    private static bool IsCollected(WeakReference context) => SpinWait.SpinUntil(
        () =>
        {
            Collect();
            return !context.IsAlive;
        },
        TimeSpan.FromSeconds(60));

    private static void Collect()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
    }
}
