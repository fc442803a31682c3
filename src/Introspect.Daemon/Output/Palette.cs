using System.Text;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Output;

/// <summary>Colours of a terminal; none where the reader is no terminal or asked for none.</summary>
internal sealed class Palette
{
    private const string Reset = "\e[0m";

    private readonly bool _enabled;

    private Palette(bool enabled) => _enabled = enabled;

    /// <summary>No colours.</summary>
    public static Palette None { get; } = new(enabled: false);

    /// <summary>The colours of a terminal.</summary>
    public static Palette Terminal { get; } = new(enabled: true);

    /// <summary>Colours only on a terminal that has them, and never when NO_COLOR is set to anything but nothing.</summary>
    public static Palette For(bool isTerminal, Func<string, string?> variable) =>
        isTerminal && string.IsNullOrEmpty(variable("NO_COLOR")) && variable("TERM") is not "dumb" ? Terminal : None;

    /// <summary>Begins the colour of a reason.</summary>
    public void Begin(StringBuilder line, VmEventReason reason) => Start(line, reason switch
    {
        VmEventReason.WriteCtrlreg => "\e[36m",
        VmEventReason.MovToMsr => "\e[34m",
        VmEventReason.SoftwareBreakpoint or VmEventReason.DebugException => "\e[33m",
        VmEventReason.MemAccess => "\e[35m",
        VmEventReason.GuestRequest => "\e[32m",
        VmEventReason.Singlestep or VmEventReason.VmExit => "\e[90m",
        _ => "\e[37m",
    });

    /// <summary>Begins the colour of what matters little.</summary>
    public void BeginFaint(StringBuilder line) => Start(line, "\e[2m");

    /// <summary>Begins the colour of an intervention.</summary>
    public void BeginAlert(StringBuilder line) => Start(line, "\e[1;31m");

    /// <summary>Ends a colour.</summary>
    public void End(StringBuilder line) => Start(line, Reset);

    private void Start(StringBuilder line, string code)
    {
        if (_enabled)
        {
            line.Append(code);
        }
    }
}
