using System.Globalization;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;

namespace Introspect.Rules.Pump;

/// <summary>
/// What the handlers of a domain want together, in the hypervisor's terms: the union of their masks, sync where any
/// wants to decide. What they cannot have together, or the hypervisor cannot give, is a problem with a text.
/// </summary>
internal sealed class SubscriptionPlan
{
    private const ulong TaskSwitched = 1 << 3;

    private readonly List<(string Name, HandlerSubscription Wishes)> _handlers;
    private readonly MonitorCapabilities _capabilities;
    private readonly CpuVendor _vendor;
    private readonly List<MonitorEvent> _events = [];
    private readonly HashSet<MonitorEvent> _optional = [];
    private readonly List<string> _problems = [];
    private readonly List<string> _unsupported = [];
    private readonly List<string> _notes = [];
    private readonly List<string> _missing = [];

    private SubscriptionPlan(List<(string Name, HandlerSubscription Wishes)> handlers, MonitorCapabilities capabilities, CpuVendor vendor)
    {
        _handlers = handlers;
        _capabilities = capabilities;
        _vendor = vendor;
        Rights = new(handlers.SelectMany(handler => handler.Wishes.Ranges));
        Breakpoints = [.. handlers.SelectMany(handler => handler.Wishes.Breakpoints).Distinct().Order()];
        UsesView = handlers.Exists(handler => handler.Wishes.InView) && (!Rights.IsEmpty || Breakpoints.Count > 0);
    }

    /// <summary>Events to enable, in this order.</summary>
    public IReadOnlyList<MonitorEvent> Events => _events;

    /// <summary>
    /// True for an event that the pump can do without, should the hypervisor refuse it although its capabilities name it.
    /// </summary>
    public bool IsOptional(MonitorEvent monitorEvent) => _optional.Contains(monitorEvent);

    /// <summary>Rights of watched pages.</summary>
    public MemoryRights Rights { get; }

    /// <summary>Guest-physical addresses at which breakpoints are put into the guest's code.</summary>
    public IReadOnlyList<ulong> Breakpoints { get; }

    /// <summary>Memory and breakpoints are watched in an altp2m view.</summary>
    public bool UsesView { get; }

    /// <summary>The hypervisor tells of instructions that its emulator has no code for, instead of failing the guest.</summary>
    public bool TellsUnimplemented { get; private set; }

    /// <summary>Each answer arms the event of the vCPU's next interrupt.</summary>
    public bool ArmsInterrupts { get; private set; }

    /// <summary>A handler may deny register writes: the hypervisor must hold them back.</summary>
    public bool MayDeny { get; private set; }

    /// <summary>Single steps are enabled.</summary>
    public bool CanStep { get; private set; }

    /// <summary>REP instructions are emulated one iteration at a time.</summary>
    public bool EmulateEachRep { get; private set; }

    /// <summary>The descriptor access event, when enabled.</summary>
    public MonitorEvent? DescriptorAccess { get; private set; }

    /// <summary>The sync port access event, when enabled.</summary>
    public MonitorEvent? IoInstruction { get; private set; }

    /// <summary>How wishes were merged in a way that an author may not expect.</summary>
    public IReadOnlyList<string> Notes => _notes;

    /// <summary>Optional events that were left out.</summary>
    public IReadOnlyList<string> Missing => _missing;

    /// <exception cref="PumpStartException">With all problems.</exception>
    public static SubscriptionPlan Make(List<(string Name, HandlerSubscription Wishes)> handlers, MonitorCapabilities capabilities, CpuVendor vendor = CpuVendor.Vmx)
    {
        var plan = new SubscriptionPlan(handlers, capabilities, vendor);
        plan.MergeSteps();
        plan.MergeControlRegisters();
        plan.MergeMsrs();
        plan.MergeSimple();
        plan.MergeMemory();
        plan.MergeInterrupts();
        return plan._problems.Count == 0 ? plan : throw new PumpStartException(plan._problems, plan._unsupported);
    }

    private void MergeSteps()
    {
        // Sync port accesses and watched pages are got past by a step of the pump's own.
        var wishes = Wishes(VmEventReason.Singlestep);
        var supported = wishes.Count == 0 || Supported(MonitorCapabilities.Singlestep, "single steps", wishes.ConvertAll(wish => (wish.Name, wish.Optional)));
        var ownUse = !Rights.IsEmpty || Breakpoints.Count > 0 || Wishes(VmEventReason.IoInstruction).Exists(wish => wish.Sync) || Wishes(VmEventReason.DescriptorAccess).Count > 0;
        CanStep = supported && (wishes.Count > 0 || ownUse) && _capabilities.HasFlag(MonitorCapabilities.Singlestep);
        if (CanStep)
        {
            _events.Add(new MonitorEvent.SingleStep());
        }
    }

    private void MergeControlRegisters()
    {
        var wishes = (from handler in _handlers from wish in handler.Wishes.ControlRegisters select (handler.Name, Wish: wish)).ToList();
        foreach (var group in wishes.GroupBy(entry => entry.Wish.Register).OrderBy(group => group.Key))
        {
            var what = $"writes of {group.Key.ToString().ToUpperInvariant()}";
            if (!Supported(MonitorCapabilities.WriteCtrlreg, what, group.Select(entry => (entry.Name, entry.Wish.Optional))))
            {
                continue;
            }

            var mask = group.Aggregate(0UL, (union, entry) => union | entry.Wish.WatchMask);
            var sync = group.Any(entry => entry.Wish.Sync);
            NoteMixedSync(what, group.Select(entry => (entry.Name, entry.Wish.Sync)));
            MayDeny |= group.Any(entry => entry.Wish.MayDeny);
            NoteClts(group.Key, group.Where(entry => entry.Wish.MayDeny && (entry.Wish.WatchMask & TaskSwitched) != 0).Select(entry => entry.Name).ToList());
            Add(new MonitorEvent.ControlRegister(group.Key, sync, group.All(entry => entry.Wish.OnChangeOnly), mask), group.All(entry => entry.Wish.Optional));
        }
    }

    private void NoteClts(ControlRegisterIndex register, List<string> deniers)
    {
        if (register == ControlRegisterIndex.Cr0 && _vendor == CpuVendor.Vmx && deniers.Count > 0)
        {
            _notes.Add($"handler {Names(deniers)} may deny writes of CR0.TS, but on VMX a CLTS is done whatever the answer; leave bit 3 out of the watch mask, or deny by the other bits");
        }
    }

    private void MergeMsrs()
    {
        var wishes = (from handler in _handlers from wish in handler.Wishes.Msrs select (handler.Name, Wish: wish)).ToList();
        foreach (var group in wishes.GroupBy(entry => entry.Wish.Number).OrderBy(group => group.Key))
        {
            var what = string.Create(CultureInfo.InvariantCulture, $"writes of MSR 0x{group.Key:x}");
            if (Supported(MonitorCapabilities.MovToMsr, what, group.Select(entry => (entry.Name, entry.Wish.Optional))))
            {
                MayDeny |= group.Any(entry => entry.Wish.MayDeny);
                Add(new MonitorEvent.Msr(group.Key, group.All(entry => entry.Wish.OnChangeOnly)), group.All(entry => entry.Wish.Optional));
            }
        }
    }

    private void MergeSimple()
    {
        var breakpoint = MergeOne(VmEventReason.SoftwareBreakpoint, MonitorCapabilities.SoftwareBreakpoint, "breakpoints", _ => new MonitorEvent.SoftwareBreakpoint());
        var owners = _handlers.Where(handler => handler.Wishes.Breakpoints.Count > 0).Select(handler => (handler.Name, false)).ToList();
        if (owners.Count > 0 && breakpoint is null && Supported(MonitorCapabilities.SoftwareBreakpoint, "breakpoints", owners))
        {
            Add(new MonitorEvent.SoftwareBreakpoint(), optional: false);
        }

        if (owners.Count > 0 && !CanStep && _capabilities.HasFlag(MonitorCapabilities.SoftwareBreakpoint) && !_capabilities.HasFlag(MonitorCapabilities.EmulUnimplemented))
        {
            _problems.Add("breakpoints of the monitor's own need single steps or an emulator that tells what it lacks, which this hypervisor does not offer on this domain");
        }

        MergeOne(VmEventReason.DebugException, MonitorCapabilities.DebugException, "debug exceptions", sync => new MonitorEvent.DebugException(sync));
        MergeOne(VmEventReason.Cpuid, MonitorCapabilities.Cpuid, "CPUID", _ => new MonitorEvent.Cpuid());
        var userspace = _handlers.Exists(handler => handler.Wishes.UserspaceRequests);
        MergeOne(VmEventReason.GuestRequest, MonitorCapabilities.GuestRequest, "guest requests", sync => new MonitorEvent.GuestRequest(sync, userspace));
        DescriptorAccess = MergeOne(VmEventReason.DescriptorAccess, MonitorCapabilities.DescriptorAccess, "descriptor accesses", _ => new MonitorEvent.DescriptorAccess());
        var io = MergeOne(VmEventReason.IoInstruction, MonitorCapabilities.IoInstruction, "port accesses", sync => new MonitorEvent.IoInstruction(sync));
        IoInstruction = io is MonitorEvent.IoInstruction { Sync: true } ? io : null;
        if (IoInstruction is not null && !CanStep)
        {
            _problems.Add("sync port accesses need single steps to go on, which this hypervisor does not offer on this domain; ask for async ones");
        }

        if (DisagreeOnSync(VmEventReason.VmExit) is { } names)
        {
            _problems.Add($"handlers {names} disagree on vmexits: sync ones are never handled by the hypervisor, async ones are; use one kind, or two pumps");
        }
        else
        {
            MergeOne(VmEventReason.VmExit, MonitorCapabilities.VmExit, "vmexits", sync => new MonitorEvent.VmExit(sync));
        }

        var unimplemented = MergeOne(VmEventReason.EmulUnimplemented, MonitorCapabilities.EmulUnimplemented, "unimplemented emulation", _ => new MonitorEvent.EmulUnimplemented());
        var emulates = !Rights.IsEmpty || DescriptorAccess is not null || Breakpoints.Count > 0;
        TellsUnimplemented = unimplemented is not null;
        if (unimplemented is null && emulates && CanStep && _capabilities.HasFlag(MonitorCapabilities.EmulUnimplemented))
        {
            // Without it, an instruction that the emulator lacks would become a #UD in the guest; with it, it is stepped.
            Add(new MonitorEvent.EmulUnimplemented(), optional: true);
            TellsUnimplemented = true;
        }
    }

    private void MergeMemory()
    {
        EmulateEachRep = _handlers.Exists(handler => handler.Wishes.EmulateEachRep);
        var ranges = _handlers.SelectMany(handler => handler.Wishes.Ranges).ToList();
        if (ranges.Count > 0 && ranges.TrueForAll(range => !range.PageTableWalks) && _capabilities.HasFlag(MonitorCapabilities.InguestPagefault))
        {
            Add(new MonitorEvent.InguestPagefault(), optional: true);
        }

        if (ranges.Exists(range => (range.Watched & (MemAccessFlags.Read | MemAccessFlags.Write)) == MemAccessFlags.Read))
        {
            _notes.Add("pages watched for reads also fault on writes, as no processor has write-only pages; the handlers are not called for those");
        }

        if (UsesView && !CanStep)
        {
            _problems.Add("watching in an altp2m view needs single steps, which this hypervisor does not offer on this domain");
        }

        if (!Rights.IsEmpty && !CanStep)
        {
            _notes.Add("single steps are not offered on this domain: accesses to watched pages are emulated");
        }
    }

    private void MergeInterrupts()
    {
        var wishes = Wishes(VmEventReason.Interrupt);
        ArmsInterrupts = wishes.Count > 0 && Supported(MonitorCapabilities.Interrupt, "interrupts", wishes.ConvertAll(wish => (wish.Name, wish.Optional)));
        if (ArmsInterrupts && !_events.Exists(IsSync) && _capabilities.HasFlag(MonitorCapabilities.WriteCtrlreg))
        {
            // The event is armed in answers alone, so that something must ask first.
            Add(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3), optional: true);
        }
    }

    private static bool IsSync(MonitorEvent monitorEvent) => monitorEvent switch
    {
        MonitorEvent.ControlRegister e => e.Sync,
        MonitorEvent.GuestRequest e => e.Sync,
        MonitorEvent.DebugException e => e.Sync,
        MonitorEvent.VmExit e => e.Sync,
        MonitorEvent.IoInstruction e => e.Sync,
        MonitorEvent.SingleStep or MonitorEvent.EmulUnimplemented or MonitorEvent.InguestPagefault => false,
        _ => true,
    };

    private MonitorEvent? MergeOne(VmEventReason reason, MonitorCapabilities capability, string what, Func<bool, MonitorEvent> make)
    {
        var wishes = Wishes(reason);
        if (wishes.Count == 0 || !Supported(capability, what, wishes.ConvertAll(wish => (wish.Name, wish.Optional))))
        {
            return null;
        }

        NoteMixedSync(what, wishes.ConvertAll(wish => (wish.Name, wish.Sync)));
        var monitorEvent = make(wishes.Exists(wish => wish.Sync));
        Add(monitorEvent, wishes.TrueForAll(wish => wish.Optional));
        return monitorEvent;
    }

    private void Add(MonitorEvent monitorEvent, bool optional)
    {
        _events.Add(monitorEvent);
        if (optional)
        {
            _optional.Add(monitorEvent);
        }
    }

    private List<(string Name, bool Sync, bool Optional)> Wishes(VmEventReason reason) =>
        (from handler in _handlers
         from wish in handler.Wishes.Simple
         where wish.Reason == reason
         select (handler.Name, wish.Sync, wish.Optional)).ToList();

    private string? DisagreeOnSync(VmEventReason reason)
    {
        var wishes = Wishes(reason);
        return wishes.Exists(wish => wish.Sync) && wishes.Exists(wish => !wish.Sync) ? Names(wishes.Select(wish => wish.Name)) : null;
    }

    private void NoteMixedSync(string what, IEnumerable<(string Name, bool Sync)> wishes)
    {
        var list = wishes.ToList();
        if (list.Exists(wish => wish.Sync) && list.Exists(wish => !wish.Sync))
        {
            _notes.Add($"{what} are sync for all, because {Names(list.Where(wish => wish.Sync).Select(wish => wish.Name))} wants so");
        }
    }

    private bool Supported(MonitorCapabilities capability, string what, IEnumerable<(string Name, bool Optional)> wishes)
    {
        if (_capabilities.HasFlag(capability))
        {
            return true;
        }

        var list = wishes.ToList();
        var required = list.Where(wish => !wish.Optional).Select(wish => wish.Name).ToList();
        if (required.Count > 0)
        {
            _unsupported.Add(what);
            _problems.Add($"handler {Names(required)} needs {what}, which this hypervisor does not offer on this domain ({nameof(Errno.EOPNOTSUPP)}); remove the handler or mark the event optional");
        }
        else
        {
            _missing.Add($"{what} are left out: this hypervisor does not offer them on this domain");
        }

        return false;
    }

    private static string Names(IEnumerable<string> names) => string.Join(", ", names.Distinct());
}
