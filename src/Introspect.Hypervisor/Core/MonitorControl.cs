using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core;

/// <summary>Monitor operations from the seam's events.</summary>
internal static class MonitorControl
{
    /// <summary>What can be monitored.</summary>
    public static MonitorCapabilities GetCapabilities(ToolstackCalls calls, ushort domain)
    {
        var domctl = ToolstackCalls.Domctl(DomctlCommand.MonitorOp, domain);
        domctl.MonitorOp.Op = MonitorOperation.GetCapabilities;
        calls.Call(ref domctl, default, $"asking what can be monitored on domain {domain}");
        return (MonitorCapabilities)domctl.MonitorOp.Event;
    }

    /// <summary>Switches an event.</summary>
    public static void Switch(ToolstackCalls calls, ushort domain, MonitorEvent monitorEvent, bool on) =>
        ToolstackCalls.Check(TrySwitch(calls, domain, monitorEvent, on), $"{(on ? "enabling" : "disabling")} {monitorEvent} on domain {domain}");

    /// <summary>Switches an event; the error is the caller's to judge.</summary>
    public static Errno TrySwitch(ToolstackCalls calls, ushort domain, MonitorEvent monitorEvent, bool on)
    {
        var domctl = ToolstackCalls.Domctl(DomctlCommand.MonitorOp, domain);
        ref var operation = ref domctl.MonitorOp;
        operation.Op = on ? MonitorOperation.Enable : MonitorOperation.Disable;
        operation.Event = (uint)KindOf(monitorEvent);
        switch (monitorEvent)
        {
            case MonitorEvent.ControlRegister register:
                operation.MovToCr.Index = (byte)register.Register;
                operation.MovToCr.Sync = Flag(register.Sync);
                operation.MovToCr.OnChangeOnly = Flag(register.OnChangeOnly);
                operation.MovToCr.BitMask = ~register.WatchMask;
                break;
            case MonitorEvent.Msr msr:
                operation.MovToMsr.Msr = msr.Number;
                operation.MovToMsr.OnChangeOnly = Flag(msr.OnChangeOnly);
                break;
            case MonitorEvent.GuestRequest request:
                operation.GuestRequest.Sync = Flag(request.Sync);
                operation.GuestRequest.AllowUserspace = Flag(request.AllowUserspace);
                break;
            case MonitorEvent.DebugException debug:
                operation.DebugExceptionSync = Flag(debug.Sync);
                break;
            case MonitorEvent.VmExit exit:
                operation.VmExitSync = Flag(exit.Sync);
                break;
            case MonitorEvent.IoInstruction io:
                operation.IoAsync = Flag(!io.Sync);
                break;
        }

        return calls.TryCall(ref domctl, default);
    }

    /// <summary>Another monitor operation.</summary>
    public static void Operate(ToolstackCalls calls, ushort domain, MonitorOperation monitorOperation, uint argument, string what)
    {
        var domctl = ToolstackCalls.Domctl(DomctlCommand.MonitorOp, domain);
        domctl.MonitorOp.Op = monitorOperation;
        domctl.MonitorOp.Event = argument;
        calls.Call(ref domctl, default, $"{what} on domain {domain}");
    }

    /// <summary>Says whether a violation without a listener crashes the domain.</summary>
    public static void SetAccessRequired(ToolstackCalls calls, ushort domain, bool required)
    {
        var domctl = ToolstackCalls.Domctl(DomctlCommand.SetAccessRequired, domain);
        domctl.AccessRequired.AccessRequired = Flag(required);
        calls.Call(ref domctl, default, $"{(required ? "requiring" : "not requiring")} a listener of domain {domain}");
    }

    /// <summary>The event without its options: what two events have in common that are switched together.</summary>
    public static MonitorEvent WithoutOptions(MonitorEvent monitorEvent) => monitorEvent switch
    {
        MonitorEvent.ControlRegister register => new MonitorEvent.ControlRegister(register.Register),
        MonitorEvent.Msr msr => new MonitorEvent.Msr(msr.Number),
        MonitorEvent.GuestRequest => new MonitorEvent.GuestRequest(),
        MonitorEvent.DebugException => new MonitorEvent.DebugException(),
        MonitorEvent.VmExit => new MonitorEvent.VmExit(),
        MonitorEvent.IoInstruction => new MonitorEvent.IoInstruction(),
        _ => monitorEvent,
    };

    private static MonitorEventKind KindOf(MonitorEvent monitorEvent) => monitorEvent switch
    {
        MonitorEvent.ControlRegister => MonitorEventKind.WriteCtrlreg,
        MonitorEvent.Msr => MonitorEventKind.MovToMsr,
        MonitorEvent.SingleStep => MonitorEventKind.Singlestep,
        MonitorEvent.SoftwareBreakpoint => MonitorEventKind.SoftwareBreakpoint,
        MonitorEvent.GuestRequest => MonitorEventKind.GuestRequest,
        MonitorEvent.DebugException => MonitorEventKind.DebugException,
        MonitorEvent.Cpuid => MonitorEventKind.Cpuid,
        MonitorEvent.DescriptorAccess => MonitorEventKind.DescAccess,
        MonitorEvent.EmulUnimplemented => MonitorEventKind.EmulUnimplemented,
        MonitorEvent.InguestPagefault => MonitorEventKind.InguestPagefault,
        MonitorEvent.VmExit => MonitorEventKind.VmExit,
        MonitorEvent.IoInstruction => MonitorEventKind.Io,
        _ => throw new ArgumentOutOfRangeException(nameof(monitorEvent), monitorEvent, "This event is unknown to the core."),
    };

    private static byte Flag(bool value) => value ? (byte)1 : (byte)0;
}
