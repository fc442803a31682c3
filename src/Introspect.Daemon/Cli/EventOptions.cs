using System.CommandLine;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Cli;

/// <summary>The options that say what is watched, and what a user's choice of them means.</summary>
internal sealed class EventOptions
{
    /// <summary>Instructions that are stepped when the user does not say how many.</summary>
    public const int DefaultSteps = 16;

    private const int MaxSteps = 1_000_000;

    private readonly Option<string?> _controlRegisters = new("--cr")
    {
        Description = "Writes of control registers: a list of cr0, cr3, cr4, xcr0; without one cr0, cr3 and cr4",
        HelpName = "REGISTER,...",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<string[]> _msrs = new("--msr")
    {
        Description = "Writes of MSRs: a list of numbers or names (0xc0000080, lstar)",
        HelpName = "MSR,...",
        Arity = ArgumentArity.OneOrMore,
    };

    private readonly Option<string?> _singleStep = new("--singlestep")
    {
        Description = $"Step the next N instructions after each breakpoint and guest request (default {DefaultSteps})",
        HelpName = "N",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<string[]> _read = Range("--read", "Reads of a guest-physical range");
    private readonly Option<string[]> _write = Range("--write", "Writes to a guest-physical range");
    private readonly Option<string[]> _execute = Range("--exec", "Instruction fetches from a guest-physical range");
    private readonly Option<bool> _cpuid = Switch("--cpuid", "CPUID instructions");
    private readonly Option<bool> _breakpoint = Switch("--int3", "Software breakpoints; the guest gets them all the same");
    private readonly Option<bool> _guestRequest = Switch("--guest-request", "Requests of the guest itself");
    private readonly Option<bool> _vmExit = Switch("--vmexit", "Every vmexit");
    private readonly Option<bool> _debug = Switch("--debug", "Debug exceptions");
    private readonly Option<bool> _descriptor = Switch("--desc", "Accesses to GDTR, IDTR, LDTR and TR");
    private readonly Option<bool> _io = Switch("--io", "Port input and output (Xen 4.18 and later)");
    private readonly Option<bool> _all = Switch("--all", "Everything above that needs no value, and the usual MSRs");

    private IEnumerable<Option> All =>
    [
        _controlRegisters, _msrs, _cpuid, _breakpoint, _singleStep, _read, _write, _execute, _guestRequest, _vmExit,
        _debug, _descriptor, _io, _all,
    ];

    /// <summary>Adds the options to a command.</summary>
    public void AddTo(Command command)
    {
        foreach (var option in All)
        {
            command.Add(option);
        }
    }

    /// <summary>What the user asked for; empty when no option was given.</summary>
    /// <exception cref="UserError">A value that means nothing.</exception>
    public EventChoice Read(ParseResult result)
    {
        var all = result.GetValue(_all);
        var events = new List<MonitorEvent>();
        events.AddRange(ReadControlRegisters(result, all).Select(r => new MonitorEvent.ControlRegister(r)));
        events.AddRange(ReadMsrs(result, all).Select(m => new MonitorEvent.Msr(m)));
        AddWhen(result.GetValue(_cpuid) || all, new MonitorEvent.Cpuid());
        AddWhen(result.GetValue(_breakpoint) || all, new MonitorEvent.SoftwareBreakpoint());
        var stepping = result.GetResult(_singleStep) is not null || all;
        AddWhen(stepping, new MonitorEvent.SingleStep());
        AddWhen(result.GetValue(_guestRequest) || all, new MonitorEvent.GuestRequest());
        AddWhen(result.GetValue(_vmExit) || all, new MonitorEvent.VmExit());
        AddWhen(result.GetValue(_debug) || all, new MonitorEvent.DebugException());
        AddWhen(result.GetValue(_descriptor) || all, new MonitorEvent.DescriptorAccess());
        AddWhen(result.GetValue(_io) || all, new MonitorEvent.IoInstruction());
        MemoryWatch[] memory =
        [
            .. ReadRanges(result, _read, MemAccessFlags.Read),
            .. ReadRanges(result, _write, MemAccessFlags.Write),
            .. ReadRanges(result, _execute, MemAccessFlags.Execute),
        ];
        return new(new() { Events = events, Memory = memory }, stepping ? ReadSteps(result) : 0, all);

        void AddWhen(bool wanted, MonitorEvent monitorEvent)
        {
            if (wanted)
            {
                events.Add(monitorEvent);
            }
        }
    }

    private IEnumerable<ControlRegisterIndex> ReadControlRegisters(ParseResult result, bool all)
    {
        if (result.GetResult(_controlRegisters) is null)
        {
            return all ? SelectionParser.UsualControlRegisters : [];
        }

        if (result.GetValue(_controlRegisters) is not { } list)
        {
            return SelectionParser.UsualControlRegisters;
        }

        return Split(list).Select(text =>
            SelectionParser.TryControlRegister(text, out var register, out var mistake)
                ? register
                : throw UserError.Usage($"--cr: {mistake}")).Distinct();
    }

    private IEnumerable<uint> ReadMsrs(ParseResult result, bool all)
    {
        var named = (result.GetValue(_msrs) ?? []).SelectMany(Split).Select(text =>
            SelectionParser.TryMsr(text, out var number, out var mistake)
                ? number
                : throw UserError.Usage($"--msr: {mistake}"));
        return (all ? MsrNames.Usual : []).Concat(named).Distinct();
    }

    private static IEnumerable<MemoryWatch> ReadRanges(ParseResult result, Option<string[]> option, MemAccessFlags watched) =>
        (result.GetValue(option) ?? []).SelectMany(Split).Select(text =>
            SelectionParser.TryRange(text, watched, out var watch, out var mistake)
                ? watch
                : throw UserError.Usage($"{option.Name}: {mistake}"));

    private int ReadSteps(ParseResult result) =>
        result.GetValue(_singleStep) is not { } text ? DefaultSteps
            : SelectionParser.TryNumber(text, out var steps) && steps is >= 1 and <= MaxSteps ? (int)steps
            : throw UserError.Usage($"--singlestep: '{text}' is no number from 1 to {MaxSteps}; put a domain before the options");

    private static string[] Split(string list) =>
        list.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);

    private static Option<bool> Switch(string name, string description) => new(name) { Description = description };

    private static Option<string[]> Range(string name, string description) => new(name)
    {
        Description = description + " (START-END, START+LENGTH or START)",
        HelpName = "RANGE,...",
        Arity = ArgumentArity.OneOrMore,
    };
}

/// <summary>What the user wants to watch.</summary>
/// <param name="Selection">Events and memory.</param>
/// <param name="Steps">Instructions to step after each breakpoint and guest request; 0 for none.</param>
/// <param name="Everything"><c>--all</c> was given: what a hypervisor cannot do is left out instead of refused.</param>
internal readonly record struct EventChoice(EventSelection Selection, int Steps, bool Everything);
