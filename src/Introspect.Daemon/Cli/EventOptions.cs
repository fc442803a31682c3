using System.CommandLine;
using System.CommandLine.Parsing;
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

    private readonly Option<string[]> _controlRegisters = Optional(
        "--cr", "REGISTER,...[:OPTION,...]", "Writes of control registers: cr0, cr3, cr4, xcr0; without one cr0, cr3 and cr4. Options: sync (default), async, onchange, mask=BITS to watch (SMEP|SMAP, 0x300000)");

    private readonly Option<string[]> _msrs = new("--msr")
    {
        Description = "Writes of MSRs: numbers or names (0xc0000080, lstar). Option: onchange",
        HelpName = "MSR,...[:onchange]",
        Arity = ArgumentArity.OneOrMore,
    };

    private readonly Option<string[]> _breakpoint = Optional(
        "--int3", "ADDRESS,...", "Software breakpoints: the guest's own, which it gets all the same; with addresses (number, SYMBOL[+OFFSET]) the trace's own at these places, in the guest's code while the trace runs");

    private readonly Option<string?> _singleStep = new("--singlestep")
    {
        Description = $"Step the next N instructions after each breakpoint and guest request (default {DefaultSteps})",
        HelpName = "N",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<string?> _from = new("--from") { Description = "With --singlestep: step from this place on, and nowhere else", HelpName = "ADDRESS" };

    private readonly Option<string[]> _read = Range("--read", "Reads of a range of guest-physical memory");
    private readonly Option<string[]> _write = Range("--write", "Writes to a range");
    private readonly Option<string[]> _execute = Range("--exec", "Instruction fetches from a range");
    private readonly Option<bool> _virtual = Switch("--va", "Numbers of --read, --write and --exec are virtual addresses, as symbols always are");
    private readonly Option<bool> _cpuid = Switch("--cpuid", "CPUID instructions");
    private readonly Option<string[]> _guestRequest = Optional("--guest-request", "OPTION,...", "Requests of the guest itself. Options: async, userspace (CPL 3 may ask, too)");
    private readonly Option<string[]> _vmExit = Optional("--vmexit", "MODE", "Every vmexit; sync: it is not handled, for guests that are reset afterwards");
    private readonly Option<string[]> _debug = Optional("--debug", "MODE", "Debug exceptions; sync (default) or async");
    private readonly Option<bool> _descriptor = Switch("--desc", "Accesses to GDTR, IDTR, LDTR and TR");
    private readonly Option<string[]> _io = Optional("--io", "MODE", "Port input and output (Xen 4.18 and later); sync (default) or async");
    private readonly Option<bool> _interrupt = Switch("--interrupt", "The next interrupt of a vCPU after each sync event");
    private readonly Option<string[]> _process = new("--process")
    {
        Description = "Only what happens in these address spaces: values of CR3; PCID and flag bits do not matter",
        HelpName = "CR3,...",
        Arity = ArgumentArity.OneOrMore,
    };

    private readonly Option<bool> _view = Switch("--view", "Watch memory and put breakpoints in an altp2m view, which the guest cannot see (Xen on VMX)");
    private readonly Option<bool> _all = Switch("--all", "Everything above that needs no value, and the usual MSRs");

    private IEnumerable<Option> All =>
    [
        _controlRegisters, _msrs, _cpuid, _breakpoint, _singleStep, _from, _read, _write, _execute, _virtual, _guestRequest,
        _vmExit, _debug, _descriptor, _io, _interrupt, _process, _view, _all,
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
        events.AddRange(ReadControlRegisters(result, all));
        events.AddRange(ReadMsrs(result, all));
        AddWhen(result.GetValue(_cpuid) || all, new MonitorEvent.Cpuid());
        var breakpoints = ReadPlaces(result, _breakpoint);
        AddWhen(IsBare(result, _breakpoint) || all, new MonitorEvent.SoftwareBreakpoint());
        var stepping = GuestOptions.IsGiven(result, _singleStep) || all;
        AddWhen(stepping, new MonitorEvent.SingleStep());
        if (ReadOptions(result, _guestRequest, all, "sync", "async", "userspace") is { } request)
        {
            events.Add(new MonitorEvent.GuestRequest(IsSync(request, _guestRequest, otherwise: true), request.Contains("userspace")));
        }

        if (ReadOptions(result, _vmExit, all, "sync", "async") is { } exit)
        {
            events.Add(new MonitorEvent.VmExit(IsSync(exit, _vmExit, otherwise: false)));
        }

        if (ReadOptions(result, _debug, all, "sync", "async") is { } debug)
        {
            events.Add(new MonitorEvent.DebugException(IsSync(debug, _debug, otherwise: true)));
        }

        AddWhen(result.GetValue(_descriptor) || all, new MonitorEvent.DescriptorAccess());
        if (ReadOptions(result, _io, all, "sync", "async") is { } io)
        {
            events.Add(new MonitorEvent.IoInstruction(IsSync(io, _io, otherwise: true)));
        }

        var (memory, ranges) = ReadRanges(result);
        var from = ReadFrom(result);
        var inView = result.GetValue(_view);
        if (inView && memory.Count + ranges.Count + breakpoints.Count == 0 && from is null)
        {
            throw UserError.Usage("--view belongs to memory and breakpoints; give --read, --write, --exec or --int3 with a place, too");
        }

        return new(
            new() { Events = events, Memory = memory, Interrupts = result.GetValue(_interrupt) || all, AddressSpaces = ReadProcesses(result), InView = inView },
            stepping ? ReadSteps(result) : 0,
            all)
        {
            Places = new() { Breakpoints = breakpoints, StepFrom = from, Ranges = ranges },
        };

        void AddWhen(bool wanted, MonitorEvent monitorEvent)
        {
            if (wanted)
            {
                events.Add(monitorEvent);
            }
        }
    }

    private List<MonitorEvent.ControlRegister> ReadControlRegisters(ParseResult result, bool all)
    {
        var events = new List<MonitorEvent.ControlRegister>();
        foreach (var text in result.GetValue(_controlRegisters) ?? [])
        {
            if (!RegisterSpec.TryControlRegisters(text, out var named, out var mistake))
            {
                throw UserError.Usage($"--cr: {mistake}");
            }

            AddEach(events, named, e => e.Register, e => Output.EventDetail.Register(e.Register).ToLowerInvariant(), "--cr");
        }

        var usual = all || IsBare(result, _controlRegisters) ? SelectionParser.UsualControlRegisters : [];
        events.AddRange(usual.Where(r => !events.Exists(e => e.Register == r)).Select(r => new MonitorEvent.ControlRegister(r)));
        return events;
    }

    private List<MonitorEvent.Msr> ReadMsrs(ParseResult result, bool all)
    {
        var events = new List<MonitorEvent.Msr>();
        foreach (var text in result.GetValue(_msrs) ?? [])
        {
            if (!RegisterSpec.TryMsrs(text, out var named, out var mistake))
            {
                throw UserError.Usage($"--msr: {mistake}");
            }

            AddEach(events, named, e => e.Number, e => $"MSR 0x{e.Number:x}", "--msr");
        }

        var usual = all ? MsrNames.Usual : [];
        return [.. usual.Where(m => !events.Exists(e => e.Number == m)).Select(m => new MonitorEvent.Msr(m)), .. events];
    }

    // Naming a thing twice is no mistake as long as both say the same of it.
    private static void AddEach<T, TKey>(List<T> events, IReadOnlyList<T> named, Func<T, TKey> key, Func<T, string> name, string option)
        where T : class
    {
        foreach (var item in named)
        {
            if (events.Find(e => EqualityComparer<TKey>.Default.Equals(key(e), key(item))) is not { } before)
            {
                events.Add(item);
            }
            else if (!before.Equals(item))
            {
                throw UserError.Usage($"{option}: {name(item)} is named twice with different options; name it once");
            }
        }
    }

    private static List<Place> ReadPlaces(ParseResult result, Option<string[]> option)
    {
        var places = new List<Place>();
        foreach (var text in (result.GetValue(option) ?? []).SelectMany(Split))
        {
            places.Add(Place.TryParse(text, out var place, out var mistake) ? place : throw UserError.Usage($"{option.Name}: {mistake}"));
        }

        return [.. places.Distinct()];
    }

    private Place? ReadFrom(ParseResult result)
    {
        if (result.GetValue(_from) is not { } text)
        {
            return null;
        }

        if (!GuestOptions.IsGiven(result, _singleStep))
        {
            throw UserError.Usage("--from belongs to --singlestep; give --singlestep N, too");
        }

        return Place.TryParse(text, out var place, out var mistake) ? place : throw UserError.Usage($"--from: {mistake}");
    }

    // Physical ranges are read here and now; virtual ones when the guest's page tables are there.
    private (List<MemoryWatch> Physical, List<PlaceRange> Virtual) ReadRanges(ParseResult result)
    {
        var isVirtual = result.GetValue(_virtual);
        var memory = new List<MemoryWatch>();
        var ranges = new List<PlaceRange>();
        foreach (var (option, watched) in new[] { (_read, MemAccessFlags.Read), (_write, MemAccessFlags.Write), (_execute, MemAccessFlags.Execute) })
        {
            foreach (var text in (result.GetValue(option) ?? []).SelectMany(Split))
            {
                if (isVirtual || Place.IsName(text.Split('+', '-')[0]))
                {
                    ranges.Add(PlaceRange.TryParse(option.Name, text, watched, out var range, out var wrong) ? range : throw UserError.Usage($"{option.Name}: {wrong}"));
                }
                else
                {
                    memory.Add(SelectionParser.TryRange(text, watched, out var watch, out var wrong) ? watch : throw UserError.Usage($"{option.Name}: {wrong}"));
                }
            }
        }

        return isVirtual && ranges.Count == 0
            ? throw UserError.Usage("--va belongs to a range; give --read, --write or --exec RANGE, too")
            : (memory, ranges);
    }

    private List<ulong> ReadProcesses(ParseResult result)
    {
        var roots = new List<ulong>();
        foreach (var text in (result.GetValue(_process) ?? []).SelectMany(Split))
        {
            roots.Add(SelectionParser.TryNumber(text, out var root) ? root : throw UserError.Usage($"--process: '{text}' is no value of CR3; write a number (0x10a000)"));
        }

        return roots;
    }

    // The words behind an option that needs none; null where the option was not given.
    private static List<string>? ReadOptions(ParseResult result, Option<string[]> option, bool all, params string[] known)
    {
        if (!GuestOptions.IsGiven(result, option))
        {
            return all ? [] : null;
        }

        var words = (result.GetValue(option) ?? []).SelectMany(Split).ToList();
        return words.Find(word => !known.Contains(word)) is { } wrong
            ? throw UserError.Usage($"{option.Name}: '{wrong}' is unknown; write {string.Join(", ", known[..^1])} or {known[^1]}, or nothing{Suggestion.For(wrong, known)}")
            : words;
    }

    private static bool IsSync(List<string> words, Option option, bool otherwise) =>
        words.Contains("sync") && words.Contains("async") ? throw UserError.Usage($"{option.Name}: an event is either sync or async; choose one")
        : words.Contains("sync") || (!words.Contains("async") && otherwise);

    private static bool IsBare(ParseResult result, Option<string[]> option) =>
        result.GetResult(option) is OptionResult { Implicit: false } given && given.Tokens.Count < given.IdentifierTokenCount;

    private int ReadSteps(ParseResult result) =>
        result.GetValue(_singleStep) is not { } text ? DefaultSteps
        : SelectionParser.TryNumber(text, out var count) && count is >= 1 and <= MaxSteps ? (int)count
        : throw UserError.Usage($"--singlestep: '{text}' is no number from 1 to {MaxSteps}; put a domain before the options");

    private static string[] Split(string list) =>
        list.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    private static Option<bool> Switch(string name, string description) => new(name) { Description = description };

    private static Option<string[]> Optional(string name, string value, string description) => new(name)
    {
        Description = description,
        HelpName = value,
        Arity = ArgumentArity.ZeroOrMore,
    };

    private static Option<string[]> Range(string name, string description) => new(name)
    {
        Description = description + " (START-END, START+LENGTH or START; numbers or symbols)",
        HelpName = "RANGE,...",
        Arity = ArgumentArity.OneOrMore,
    };
}
