using System.ComponentModel.DataAnnotations;
using System.Runtime.InteropServices;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Plugins;

[assembly: HandlerPlugin("cr3-guard", typeof(Cr3Guard.Cr3GuardPlugin), ApiVersion = PluginApi.Version)]

namespace Cr3Guard;

/// <summary>The keys below <c>config</c>.</summary>
public sealed class Cr3GuardOptions
{
    /// <summary><c>report_every</c>: a line in the log after so many switches.</summary>
    [Range(1, 1_000_000_000)]
    public int ReportEvery { get; init; } = 100_000;

    /// <summary><c>deny</c>: page-table roots that the guest may not switch to.</summary>
    public ulong[] Deny { get; init; } = [];
}

/// <summary>Makes a handler for each domain.</summary>
public sealed class Cr3GuardPlugin : HandlerPlugin<Cr3GuardOptions>
{
    /// <inheritdoc/>
    protected override IEventHandler Create(PluginContext context, Cr3GuardOptions options) => new Cr3GuardHandler(context, options);
}

/// <summary>Counts how often each process is switched to, and denies switches to those that are not wanted.</summary>
internal sealed class Cr3GuardHandler(PluginContext context, Cr3GuardOptions options) : IEventHandler
{
    // A guest that makes processes without end must not take our memory.
    private const int MostProcesses = 1024;

    private readonly Dictionary<ulong, long> _switches = new(MostProcesses);
    private long _total;
    private long _others;

    public string Name => context.Name;

    // Only what is to be denied has to stop the vCPU.
    public void Subscribe(SubscriptionBuilder subscription) =>
        subscription.ControlRegister(ControlRegisterIndex.Cr3, sync: options.Deny.Length != 0, mayDeny: options.Deny.Length != 0);

    public Verdict Handle(ref readonly VmEvent request, ref HandlerContext handler)
    {
        // A process is its page-table root; the other bits of CR3 are its PCID and flags.
        var root = request.WriteCtrlreg.NewValue & handler.AddressSpace.RootMask;
        if (_switches.Count < MostProcesses || _switches.ContainsKey(root))
        {
            CollectionsMarshal.GetValueRefOrAddDefault(_switches, root, out _)++;
        }
        else
        {
            _others++;
        }

        if (++_total % options.ReportEvery == 0)
        {
            Report();
        }

        return Array.IndexOf(options.Deny, root) >= 0 ? Verdict.Deny : Verdict.Pass;
    }

    private void Report()
    {
        var most = _switches.OrderByDescending(process => process.Value).Take(3).Select(process => $"0x{process.Key:x} {process.Value}");
        context.Log(PluginLogLevel.Information, $"domain {context.Domain.Name}: {_total} switches between {_switches.Count} processes ({_others} to others), most to {string.Join(", ", most)}");
    }
}
