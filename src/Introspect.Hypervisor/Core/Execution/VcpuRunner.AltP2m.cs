using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Core.Monitoring;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>What altp2m does on a vCPU: tables taken up, VMFUNC, #VE, and the step that ends in another view.</summary>
internal sealed partial class VcpuRunner
{
    private P2mTable? _p2mInForce;
    private ushort? _stepsToView;

    // A view that was entered, or left, since the guest ran last.
    private void TakeUpView()
    {
        var table = _vcpu.P2m;
        if (!ReferenceEquals(table, _p2mInForce))
        {
            _p2mInForce = table;
            _cpu.UseTable(table);
        }
    }

    // As on Xen an emulated instruction is fetched, and reads and writes, past the view that is in force.
    private Exit EmulateOnHostTable(AccessOverride how, byte[]? instruction)
    {
        // Where rights apply to the data, they are the view's.
        var inView = !ReferenceEquals(_vcpu.P2m, _domain.Physmap) && (how & AccessOverride.IgnoreWalkRights) == 0;
        if (inView)
        {
            _cpu.UseTable(_domain.Physmap);
        }

        var exit = _cpu.EmulateOne(how, instruction);
        if (inView)
        {
            _cpu.UseTable(_vcpu.P2m);
        }

        return exit;
    }

    /// <summary>VMFUNC leaf 0, EPTP switching (Intel SDM vol. 3, 26.5.6.3). False: it is an exit, and at last #UD.</summary>
    private bool TrySwitchView(in Exit exit)
    {
        // Without VM functions there is no exit: the instruction does not exist.
        if (!_domain.AltP2m.IsActive || !_vcpu.VirtualizationExceptions.HasVmFunctions)
        {
            _cpu.Raise(Vector.InvalidOpcode);
            return true;
        }

        if (exit.Index != 0 || exit.Value >= Domains.AltP2m.MaxViews
            || !_domain.AltP2m.Switch(_vcpu, (ushort)exit.Value, visibleOnly: true))
        {
            return false;
        }

        _cpu.Advance(exit.InsnLength);
        if (_cpu.Registers.MonitorTrap)
        {
            MonitorTrap(); // there was no exit, so that the step ends behind the instruction
        }

        return true;
    }

    /// <summary>ALTERNATE_P2M of a response. A view that is not there, or altp2m being off, is counted, and else ignored as on Xen.</summary>
    private void SwitchViewOrIgnore(ushort view)
    {
        if (!_domain.AltP2m.Switch(_vcpu, view, visibleOnly: false))
        {
            _domain.Monitor.Answers.Count(AnswerFault.UnknownView);
        }
    }

    /// <summary>A violation that the processor tells the guest by #VE. False: it is an exit.</summary>
    private bool TryVirtualizationException(in Exit exit)
    {
        // Nothing in the middle of an event's delivery is convertible (Intel SDM vol. 3, 26.5.7.1).
        if (!_vcpu.VirtualizationExceptions.IsEnabled || _cpu.Registers.Pending.Valid
            || (_cpu.Registers.Cr0 & Cr0.PE) == 0 || !_domain.AltP2m.IsActive)
        {
            return false;
        }

        var entry = _vcpu.P2m[exit.Gpa >> 12];
        var needed = exit.Value & P2mEntry.RightsMask;
        if (!entry.IsPresent || entry.SuppressesVe || (entry.Raw & needed) == needed)
        {
            return false;
        }

        var qualification = _domain.Personality.Translate(in exit, _cpu.Registers.Rip).Qualification;
        if (!_vcpu.VirtualizationExceptions.TryWrite(qualification, exit.Gla, exit.Gpa, _vcpu.View, out var page))
        {
            return false;
        }

        _cpu.PageWritten(page);
        _cpu.Raise(VirtualizationExceptions.Vector);
        return true;
    }

    /// <summary>FAST_SINGLESTEP: one instruction in the view that is in force, and then on in another, without an event.</summary>
    private void StartFastStep(ushort view)
    {
        if (view >= _domain.AltP2m.Limit)
        {
            _domain.Monitor.Answers.Count(AnswerFault.UnknownView);
            return;
        }

        _singleStep = true;
        _stepsToView = view;
    }

    // As on Xen the step only ends where single-step events are enabled.
    private bool TryEndFastStep()
    {
        if (_stepsToView is not { } view || !_domain.Monitor.Singlestep)
        {
            return false;
        }

        SwitchViewOrIgnore(view);
        _singleStep = false;
        _stepsToView = null;
        return true;
    }
}
