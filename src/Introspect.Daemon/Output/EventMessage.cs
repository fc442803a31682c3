using System.Globalization;
using System.Text;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Output;

/// <summary>
/// An event as one sentence without columns, for logs that have their own time and host:
/// <c>web v0 write_ctrlreg CR4 0x100020 -> 0x20 -SMEP at 0x10104c [deny by protect-cr4]</c>.
/// </summary>
internal sealed class EventMessage
{
    private readonly StringBuilder _line = new(256);

    /// <summary>The sentence. The result is valid until the next call.</summary>
    public StringBuilder Of(in VmEvent e, in EventContext context)
    {
        _line.Clear();
        _line.Append(CultureInfo.InvariantCulture, $"{Label(context)} v{e.VcpuId} {ReasonNames.Of(e.Reason)} ");
        EventDetail.Append(_line, e, context.Vendor);
        _line.Append(CultureInfo.InvariantCulture, $" at 0x{e.Registers.Rip:x}");
        if (RecordContext.IsIntervention(context))
        {
            _line.Append(" [").Append(context.Verdict);
            if (context.Rule is { } rule)
            {
                _line.Append(" by ").Append(rule);
            }

            _line.Append(']');
        }

        return _line;
    }

    /// <summary>A domain's name, or its number where it has none; in one line, whatever the name is.</summary>
    public static string Label(in EventContext context) => Label(context.Domain, context.DomainName);

    /// <summary>The same of a domain's number and name.</summary>
    public static string Label(DomainId domain, string name) =>
        name.Length == 0 ? domain.ToString()
        : name.Any(char.IsControl) ? string.Concat(name.Select(c => char.IsControl(c) ? '?' : c))
        : name;

    /// <summary>True when the guest was kept from what it was about to do.</summary>
    public static bool IsDenied(in EventContext context) => context.Verdict.StartsWith("deny", StringComparison.Ordinal);
}
