using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.Monitoring;

/// <summary>
/// What is monitored on a domain (<c>d->arch.monitor</c>), and the operations that change it. vCPUs read it in
/// their exits; it changes only while the domain is paused.
/// </summary>
internal sealed class DomainMonitorState
{
    private const int ControlRegisters = 4;

    private readonly Domain _domain;
    private readonly ulong[] _controlRegisterMask = new ulong[ControlRegisters];
    private uint _controlRegisterEnabled;
    private uint _controlRegisterSync;
    private uint _controlRegisterOnChange;
    private MsrMonitorBitmap? _msrs;

    public DomainMonitorState(Domain domain, MonitoringOptions options)
    {
        _domain = domain;
        Options = options;
        Answers = new AnswerFaults($"domain {domain.Id}", options);
    }

    /// <summary>Where it differs from Xen 4.17's.</summary>
    public MonitoringOptions Options { get; }

    /// <summary>Responses that were wrong or meant nothing, counted.</summary>
    public AnswerFaults Answers { get; }

    /// <summary>What can be monitored on the domain.</summary>
    public MonitorCapabilities Capabilities =>
        _domain.Personality.Capabilities | (Options.IoInstructions ? MonitorCapabilities.IoInstruction : MonitorCapabilities.None);

    /// <summary>Single-step events are reported.</summary>
    public bool Singlestep { get; private set; }

    /// <summary>int3 and the like are reported.</summary>
    public bool SoftwareBreakpoint { get; private set; }

    /// <summary>#DB is reported.</summary>
    public bool DebugException { get; private set; }

    /// <summary>The vCPU waits for the response to a #DB.</summary>
    public bool DebugExceptionSync { get; private set; }

    /// <summary>CPUID is reported.</summary>
    public bool Cpuid { get; private set; }

    /// <summary>Guest requests are reported.</summary>
    public bool GuestRequest { get; private set; }

    /// <summary>The vCPU waits for the response to a guest request.</summary>
    public bool GuestRequestSync { get; private set; }

    /// <summary>CPL 3 may make guest requests.</summary>
    public bool GuestRequestUserspace { get; private set; }

    /// <summary>Accesses to descriptor table registers are reported.</summary>
    public bool DescriptorAccess { get; private set; }

    /// <summary>Instructions without emulation are reported.</summary>
    public bool EmulUnimplemented { get; private set; }

    /// <summary>Violations that a page-table walk causes are not reported.</summary>
    public bool InguestPagefaultDisabled { get; private set; }

    /// <summary>Every vmexit is reported.</summary>
    public bool VmExit { get; private set; }

    /// <summary>A reported vmexit is not handled, and the vCPU waits.</summary>
    public bool VmExitSync { get; private set; }

    /// <summary>Port input and output are reported.</summary>
    public bool IoInstruction { get; private set; }

    /// <summary>The vCPU waits for the response to a port access; Xen always waits.</summary>
    public bool IoInstructionSync { get; private set; }

    /// <summary>DENY is honoured, for which register writes are put off until the vCPU goes on.</summary>
    public bool ControlRegisterValues { get; private set; }

    /// <summary>REP instructions are emulated one iteration at a time.</summary>
    public bool EmulateEachRep { get; set; }

    /// <summary>Any MSR is monitored.</summary>
    public bool AnyMsr => _msrs is { IsEmpty: false };

    /// <summary>Writes of the register are monitored.</summary>
    public bool IsMonitored(ControlRegisterIndex index) => (_controlRegisterEnabled & Bit(index)) != 0;

    /// <summary>The vCPU waits for the response to a write of the register.</summary>
    public bool IsSync(ControlRegisterIndex index) => (_controlRegisterSync & Bit(index)) != 0;

    /// <summary>
    /// Whether a write is to be reported: it is monitored, and a bit that matters changes. A write that changes
    /// nothing is reported where the option says so and not only changes are asked for.
    /// </summary>
    public bool Wants(ControlRegisterIndex index, ulong newValue, ulong oldValue)
    {
        if (!IsMonitored(index))
        {
            return false;
        }

        return newValue == oldValue
            ? Options.ReportUnchanged && (_controlRegisterOnChange & Bit(index)) == 0
            : ((newValue ^ oldValue) & ~_controlRegisterMask[(int)index]) != 0;
    }

    /// <summary>Writes of the MSR are monitored.</summary>
    public bool IsMsrMonitored(uint msr) => _msrs is { } msrs && msrs.IsMonitored(msr);

    /// <summary>Only writes that change the MSR are to be reported.</summary>
    public bool IsMsrOnChangeOnly(uint msr) => _msrs is { } msrs && msrs.IsOnChangeOnly(msr);

    /// <summary>A ring is being enabled: MSRs can be monitored from now on (<c>arch_monitor_init_domain</c>).</summary>
    public void Prepare() => _msrs ??= new MsrMonitorBitmap();

    /// <summary>Nothing is monitored any more (<c>arch_monitor_cleanup_domain</c>). The domain is paused.</summary>
    public void Clear()
    {
        _msrs = null;
        Array.Clear(_controlRegisterMask);
        _controlRegisterEnabled = _controlRegisterSync = _controlRegisterOnChange = 0;
        Singlestep = SoftwareBreakpoint = DebugException = DebugExceptionSync = Cpuid = false;
        GuestRequest = GuestRequestSync = GuestRequestUserspace = false;
        DescriptorAccess = EmulUnimplemented = InguestPagefaultDisabled = false;
        VmExit = VmExitSync = ControlRegisterValues = IoInstruction = IoInstructionSync = false;
        Changed();
    }

    /// <summary>A monitor operation (<c>XEN_DOMCTL_monitor_op</c>), its caller's privilege checked.</summary>
    public Errno Operate(ref DomctlMonitorOp operation)
    {
        switch (operation.Op)
        {
            case MonitorOperation.Enable or MonitorOperation.Disable:
                if (operation.Event > 31)
                {
                    return Errno.EINVAL;
                }

                return ((uint)Capabilities & (1u << (int)operation.Event)) == 0
                    ? Errno.EOPNOTSUPP
                    : Switch(operation, operation.Op == MonitorOperation.Enable);

            case MonitorOperation.GetCapabilities:
                operation.Event = (uint)Capabilities;
                return Errno.None;

            case MonitorOperation.EmulateEachRep:
                if (_domain.MonitorRing is null)
                {
                    return Errno.EINVAL;
                }

                var eachRep = operation.Event != 0;
                WhilePaused(() => EmulateEachRep = eachRep);
                return Errno.None;

            case MonitorOperation.ControlRegisters:
                ControlRegisterValues = true;
                return Errno.None;

            default:
                return Errno.EOPNOTSUPP;
        }
    }

    private static uint Bit(ControlRegisterIndex index) => 1u << (int)index;

    private Errno Switch(DomctlMonitorOp operation, bool on) => (MonitorEventKind)operation.Event switch
    {
        MonitorEventKind.WriteCtrlreg => SwitchControlRegister(operation.MovToCr, on),
        MonitorEventKind.MovToMsr => SwitchMsr(operation.MovToMsr, on),
        MonitorEventKind.Singlestep => Toggle(Singlestep, on, () => Singlestep = on),
        MonitorEventKind.SoftwareBreakpoint => Toggle(SoftwareBreakpoint, on, () => SoftwareBreakpoint = on),
        MonitorEventKind.GuestRequest => Toggle(GuestRequest, on, () =>
        {
            GuestRequest = on;
            GuestRequestSync = operation.GuestRequest.Sync != 0;
            GuestRequestUserspace = operation.GuestRequest.AllowUserspace != 0;
        }),
        MonitorEventKind.DebugException => Toggle(DebugException, on, () =>
        {
            DebugException = on;
            DebugExceptionSync = on && operation.DebugExceptionSync != 0;
        }),
        MonitorEventKind.Cpuid => Toggle(Cpuid, on, () => Cpuid = on),
        MonitorEventKind.DescAccess => Toggle(DescriptorAccess, on, () => DescriptorAccess = on),
        MonitorEventKind.EmulUnimplemented => Toggle(EmulUnimplemented, on, () => EmulUnimplemented = on),
        MonitorEventKind.InguestPagefault => Toggle(InguestPagefaultDisabled, on, () => InguestPagefaultDisabled = on),
        MonitorEventKind.VmExit => Toggle(VmExit, on, () =>
        {
            VmExit = on;
            VmExitSync = operation.VmExitSync != 0;
            _domain.MonitorRing?.VmExitKindChanged();
        }),
        MonitorEventKind.Io => Toggle(IoInstruction, on, () =>
        {
            IoInstruction = on;
            IoInstructionSync = operation.IoAsync == 0;
        }),

        // INTERRUPT is among the capabilities, and only a response arms it.
        _ => Errno.EOPNOTSUPP,
    };

    private Errno SwitchControlRegister(MonitorMovToCr argument, bool on)
    {
        if (argument.Index >= ControlRegisters || argument.HasPadding)
        {
            return Errno.EINVAL;
        }

        var bit = Bit((ControlRegisterIndex)argument.Index);
        return Toggle((_controlRegisterEnabled & bit) != 0, on, () =>
        {
            _controlRegisterSync = Assign(_controlRegisterSync, bit, argument.Sync != 0);
            _controlRegisterOnChange = Assign(_controlRegisterOnChange, bit, argument.OnChangeOnly != 0);
            _controlRegisterEnabled = Assign(_controlRegisterEnabled, bit, on);
            _controlRegisterMask[argument.Index] = on ? argument.BitMask : 0;
        });
    }

    private Errno SwitchMsr(MonitorMovToMsr argument, bool on)
    {
        if (IsMsrMonitored(argument.Msr) == on)
        {
            return Errno.EEXIST;
        }

        if (_msrs is not { } msrs)
        {
            return Errno.ENXIO;
        }

        if (!MsrMonitorBitmap.IsInRange(argument.Msr))
        {
            return Errno.EINVAL;
        }

        WhilePaused(() => msrs.Set(argument.Msr, on, argument.OnChangeOnly != 0));
        return Errno.None;
    }

    private Errno Toggle(bool current, bool wanted, Action change)
    {
        if (current == wanted)
        {
            return Errno.EEXIST;
        }

        WhilePaused(change);
        return Errno.None;
    }

    private void WhilePaused(Action change)
    {
        _domain.Pause();
        try
        {
            change();
            Changed();
        }
        finally
        {
            _domain.Unpause();
        }
    }

    private void Changed()
    {
        foreach (var vcpu in _domain.Vcpus)
        {
            vcpu.Runner.MonitorStateChanged();
        }
    }

    private static uint Assign(uint word, uint bit, bool value) => value ? word | bit : word & ~bit;
}
