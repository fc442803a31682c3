using System.Globalization;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Pump;

namespace Introspect.Daemon.Output;

/// <summary>Counts what events are about, for the summary: registers, exits, ports and the like.</summary>
internal sealed class ReasonCounter(CpuVendor vendor)
{
    // A guest that walks through every port or leaf must not fill the memory of who watches it.
    private const int MaxTopics = 256;

    private readonly long[] _counts = new long[PumpStatistics.ReasonCount];
    private readonly TimeSpan[] _paused = new TimeSpan[PumpStatistics.ReasonCount];
    private readonly Dictionary<ulong, long>?[] _topics = new Dictionary<ulong, long>?[PumpStatistics.ReasonCount];

    /// <summary>Events by reason, most frequent first.</summary>
    public IReadOnlyList<(VmEventReason Reason, long Count)> ByReason =>
    [
        .. _counts.Select((count, reason) => (Reason: (VmEventReason)reason, Count: count))
            .Where(r => r.Count != 0).OrderByDescending(r => r.Count).ThenBy(r => r.Reason),
    ];

    /// <summary>What the events of each reason came to.</summary>
    public IReadOnlyDictionary<VmEventReason, ReasonSummary> Reasons => ByReason.ToDictionary(r => r.Reason, r => Summarise(r.Reason));

    /// <summary>Counts an event.</summary>
    public void Count(in EventRecord record)
    {
        var slot = (uint)record.Reason < PumpStatistics.ReasonCount ? (int)record.Reason : 0;
        _counts[slot]++;
        _paused[slot] = Sum(_paused[slot], record.PausedTime);
        if (TopicOf(record.Event) is not { } topic)
        {
            return;
        }

        var topics = _topics[slot] ??= [];
        if (topics.Count < MaxTopics || topics.ContainsKey(topic))
        {
            System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(topics, topic, out _)++;
        }
    }

    /// <summary>Sums times, also those that a capture claims and that go beyond any.</summary>
    public static TimeSpan Sum(TimeSpan a, TimeSpan b) => new(long.CreateSaturating((Int128)a.Ticks + b.Ticks));

    private ReasonSummary Summarise(VmEventReason reason) => new()
    {
        Paused = _paused[(int)reason],
        Topics =
        [
            .. (_topics[(int)reason] ?? []).GroupBy(t => NameOf(reason, t.Key)).Select(t => (Topic: t.Key, Count: t.Sum(n => n.Value)))
                .OrderByDescending(t => t.Count).ThenBy(t => t.Topic, StringComparer.Ordinal),
        ],
    };

    private static ulong? TopicOf(in VmEvent e) => e.Reason switch
    {
        VmEventReason.WriteCtrlreg => (ulong)e.WriteCtrlreg.Index,
        VmEventReason.MovToMsr => e.MovToMsr.Msr,
        VmEventReason.MemAccess => (ulong)(e.MemAccess.Flags & (MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.Execute)),
        VmEventReason.Cpuid => e.Cpuid.Leaf,
        VmEventReason.Interrupt => e.Interrupt.Vector,
        VmEventReason.DescriptorAccess => (ulong)e.DescAccess.Descriptor,
        VmEventReason.VmExit => e.VmExit.ExitReason,
        VmEventReason.IoInstruction => e.Io.Port,
        _ => null,
    };

    private string NameOf(VmEventReason reason, ulong topic) => reason switch
    {
        VmEventReason.WriteCtrlreg => EventDetail.Register((ControlRegisterIndex)topic).ToLowerInvariant(),
        VmEventReason.MovToMsr => MsrNames.TryGetName(topic, out var name) ? name : Hex(topic),
        VmEventReason.MemAccess => EventDetail.Rights((MemAccessFlags)topic),
        VmEventReason.DescriptorAccess => EventDetail.Descriptor((DescriptorRegister)topic),
        VmEventReason.VmExit => ExitNames.Of(vendor, topic) is { } exit ? exit : Hex(topic),
        _ => Hex(topic),
    };

    private static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");
}
