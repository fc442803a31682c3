using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core;

/// <summary>A domain's altp2m views, through the toolstack's door.</summary>
/// <param name="calls">The door.</param>
/// <param name="number">The domain.</param>
internal sealed class CoreAltp2m(ToolstackCalls calls, ushort number) : IAltp2m
{
    // Frames in a call: what both lists take fits a packet of the host's protocol.
    private const int FramesPerCall = 4096;

    private readonly List<ViewId> _made = [];
    private readonly HashSet<VcpuId> _notified = [];

    // What was done to views that are not ours: it does not go with them.
    private readonly HashSet<ViewId> _hidden = [];
    private readonly HashSet<(ViewId View, Gfn Gfn)> _remapped = [];
    private readonly HashSet<(ViewId View, Gfn Gfn)> _restricted = [];
    private readonly HashSet<(ViewId View, Gfn First, Gfn Last)> _unsuppressed = [];
    private bool _moved;
    private bool _switchedOn;

    /// <summary>Rights of the host table were changed, by way of view 0.</summary>
    public bool ChangedHostAccess { get; private set; }

    /// <inheritdoc/>
    public AltP2mUse Use => (AltP2mUse)calls.GetParam(number, HvmParam.AltP2m);

    /// <inheritdoc/>
    public bool IsActive
    {
        get
        {
            var operation = default(HvmAltP2mOp);
            Call(AltP2mCommand.GetDomainState, ref operation, "asking whether altp2m is on");
            return operation.DomainState != 0;
        }
    }

    /// <inheritdoc/>
    public void Allow(AltP2mUse use) => calls.SetParam(number, HvmParam.AltP2m, (ulong)use);

    /// <inheritdoc/>
    public void SetActive(bool on)
    {
        var was = IsActive;
        var operation = new HvmAltP2mOp { DomainState = on ? (byte)1 : (byte)0 };
        Call(AltP2mCommand.SetDomainState, ref operation, on ? "switching altp2m on" : "switching altp2m off");
        _switchedOn = on && (_switchedOn || !was);
        if (!on)
        {
            ForgetViews();
        }
    }

    /// <inheritdoc/>
    public ViewId Create(MemoryAccess defaultAccess)
    {
        var operation = default(HvmAltP2mOp);
        operation.View.DefaultAccess = (ushort)defaultAccess;
        Call(AltP2mCommand.CreateP2m, ref operation, "creating an altp2m view (EINVAL: there are as many as there can be)");
        var view = new ViewId(operation.View.View);
        _made.Add(view);
        return view;
    }

    /// <inheritdoc/>
    public void Destroy(ViewId view)
    {
        var operation = default(HvmAltP2mOp);
        operation.View.View = view.Value;
        Call(AltP2mCommand.DestroyP2m, ref operation, $"destroying altp2m view {view} (EBUSY: it is view 0, or a vCPU is in it)");
        _made.Remove(view);
        _hidden.Remove(view);
        _remapped.RemoveWhere(change => change.View == view);
        _restricted.RemoveWhere(change => change.View == view);
        _unsuppressed.RemoveWhere(change => change.View == view);
    }

    /// <inheritdoc/>
    public void SwitchTo(ViewId view)
    {
        var operation = default(HvmAltP2mOp);
        operation.View.View = view.Value;
        Call(AltP2mCommand.SwitchP2m, ref operation, $"switching to altp2m view {view}");
        _moved = true;
    }

    /// <summary>A response put a vCPU into another view than it was in.</summary>
    public void NoteMoved() => _moved = true;

    /// <inheritdoc/>
    public ViewId GetView(VcpuId vcpu)
    {
        var operation = default(HvmAltP2mOp);
        operation.VcpuP2mIndex.VcpuId = vcpu.Value;
        Call(AltP2mCommand.GetP2mIdx, ref operation, $"asking for the altp2m view of vCPU {vcpu}");
        return new(operation.VcpuP2mIndex.AltP2mIndex);
    }

    /// <inheritdoc/>
    public void SetAccess(ViewId view, Gfn gfn, MemoryAccess access)
    {
        NoteAccess(view, gfn);
        var operation = default(HvmAltP2mOp);
        operation.MemAccess.View = view.Value;
        operation.MemAccess.Gfn = gfn.Value;
        operation.MemAccess.Access = (ushort)access;
        Call(AltP2mCommand.SetMemAccess, ref operation, $"setting the access of frame {gfn} in altp2m view {view} to {access}");
    }

    /// <inheritdoc/>
    public void SetAccess(ViewId view, ReadOnlySpan<Gfn> gfns, ReadOnlySpan<MemoryAccess> accesses)
    {
        if (gfns.Length != accesses.Length)
        {
            throw new ArgumentException($"there are {gfns.Length} frames and {accesses.Length} accesses", nameof(accesses));
        }

        var done = 0;
        do
        {
            var count = Math.Min(gfns.Length - done, FramesPerCall);
            SetAccessOfSome(view, gfns.Slice(done, count), accesses.Slice(done, count));
            done += count;
        }
        while (done < gfns.Length);
    }

    /// <inheritdoc/>
    public MemoryAccess GetAccess(ViewId view, Gfn gfn)
    {
        var operation = default(HvmAltP2mOp);
        operation.MemAccess.View = view.Value;
        operation.MemAccess.Gfn = gfn.Value;
        Call(AltP2mCommand.GetMemAccess, ref operation, $"reading the access of frame {gfn} in altp2m view {view}");
        return (MemoryAccess)operation.MemAccess.Access;
    }

    /// <inheritdoc/>
    public void Remap(ViewId view, Gfn gfn, Gfn target) => ChangeGfn(view, gfn, target.Value, $"making frame {gfn} of altp2m view {view} lead to {target}");

    /// <inheritdoc/>
    public void Restore(ViewId view, Gfn gfn) => ChangeGfn(view, gfn, ulong.MaxValue, $"restoring frame {gfn} of altp2m view {view}");

    /// <inheritdoc/>
    public void SetVisible(ViewId view, bool visible)
    {
        var operation = default(HvmAltP2mOp);
        operation.Visibility.AltP2mIndex = view.Value;
        operation.Visibility.Visible = visible ? (byte)1 : (byte)0;
        Call(AltP2mCommand.SetVisibility, ref operation, $"making altp2m view {view} {(visible ? "visible" : "invisible")}");
        if (visible)
        {
            _hidden.Remove(view);
        }
        else
        {
            _hidden.Add(view);
        }
    }

    /// <inheritdoc/>
    public void SetSuppressVe(ViewId view, Gfn first, Gfn last, bool suppress)
    {
        var operation = default(HvmAltP2mOp);
        operation.SuppressVeMulti.View = view.Value;
        operation.SuppressVeMulti.SuppressVe = suppress ? (byte)1 : (byte)0;
        operation.SuppressVeMulti.FirstGfn = first.Value;
        operation.SuppressVeMulti.LastGfn = last.Value;
        if (!suppress && !_made.Contains(view))
        {
            _unsuppressed.Add((view, first, last));
        }

        Call(AltP2mCommand.SetSuppressVeMulti, ref operation, $"setting #VE of frames {first} to {last} in altp2m view {view}");
        if (operation.SuppressVeMulti.FirstError != 0)
        {
            ToolstackCalls.Check((Errno)(-operation.SuppressVeMulti.FirstError), $"setting #VE of frame 0x{operation.SuppressVeMulti.FirstErrorGfn:x} in altp2m view {view}");
        }
    }

    /// <inheritdoc/>
    public bool GetSuppressVe(ViewId view, Gfn gfn)
    {
        var operation = default(HvmAltP2mOp);
        operation.SuppressVe.View = view.Value;
        operation.SuppressVe.Gfn = gfn.Value;
        Call(AltP2mCommand.GetSuppressVe, ref operation, $"reading #VE of frame {gfn} in altp2m view {view}");
        return operation.SuppressVe.SuppressVe != 0;
    }

    /// <inheritdoc/>
    public void EnableNotify(VcpuId vcpu, Gfn page)
    {
        var operation = default(HvmAltP2mOp);
        operation.EnableNotify.VcpuId = vcpu.Value;
        operation.EnableNotify.Gfn = page.Value;
        Call(AltP2mCommand.VcpuEnableNotify, ref operation, $"giving vCPU {vcpu} page {page} for #VE");
        _notified.Add(vcpu);
    }

    /// <inheritdoc/>
    public void DisableNotify(VcpuId vcpu)
    {
        var operation = new HvmAltP2mOp { DisableNotifyVcpu = vcpu.Value };
        Call(AltP2mCommand.VcpuDisableNotify, ref operation, $"taking the page for #VE from vCPU {vcpu}");
        _notified.Remove(vcpu);
    }

    /// <summary>
    /// Undoes what was done: every vCPU is in view 0 again, the views that were made are gone, those of others are as they
    /// were, and altp2m is off when it was before. The domain is paused. What cannot be undone, since somebody else did
    /// so before, is no error: monitoring must end in any case.
    /// </summary>
    public void Undo()
    {
        if (_switchedOn)
        {
            TrySetState(on: false);
            ForgetViews();
            _switchedOn = false;
            return;
        }

        foreach (var vcpu in _notified)
        {
            var operation = new HvmAltP2mOp { DisableNotifyVcpu = vcpu.Value };
            TryUndo(AltP2mCommand.VcpuDisableNotify, ref operation);
        }

        foreach (var view in _hidden)
        {
            var operation = default(HvmAltP2mOp);
            operation.Visibility.AltP2mIndex = view.Value;
            operation.Visibility.Visible = 1;
            TryUndo(AltP2mCommand.SetVisibility, ref operation);
        }

        // Views that only others use are not ours to leave.
        if (_moved || _made.Count != 0)
        {
            LeaveForViewZero();
        }

        foreach (var view in _made)
        {
            var operation = default(HvmAltP2mOp);
            operation.View.View = view.Value;
            TryUndo(AltP2mCommand.DestroyP2m, ref operation);
        }

        UndoInOthersViews();
        ForgetViews();
    }

    /// <summary>
    /// Ends what a monitor left behind: every vCPU is in view 0, and altp2m is off where it is the toolstack's alone. A
    /// guest that may use it itself (mixed) keeps its views.
    /// </summary>
    public static void Recover(ToolstackCalls calls, ushort number)
    {
        var views = new CoreAltp2m(calls, number);
        switch (views.Use)
        {
            case AltP2mUse.External or AltP2mUse.Limited:
                views.TrySetState(on: false);
                break;
            case AltP2mUse.Mixed:
                views.LeaveForViewZero();
                break;
            default:
                break;
        }
    }

    private void SetAccessOfSome(ViewId view, ReadOnlySpan<Gfn> gfns, ReadOnlySpan<MemoryAccess> accesses)
    {
        foreach (var gfn in gfns)
        {
            NoteAccess(view, gfn);
        }

        var operation = default(HvmAltP2mOp);
        operation.SetMemAccessMulti.View = view.Value;
        operation.SetMemAccessMulti.Nr = (uint)gfns.Length;
        operation.SetMemAccessMulti.PfnList = operation.SetMemAccessMulti.AccessList = 1;
        Call(
            AltP2mCommand.SetMemAccessMulti,
            ref operation,
            $"setting the access of {gfns.Length} frames in altp2m view {view}",
            MemoryMarshal.AsBytes(gfns).ToArray(),
            MemoryMarshal.AsBytes(accesses).ToArray());
    }

    private void NoteAccess(ViewId view, Gfn gfn)
    {
        // Frame ~0 is the default of new pages, which is the host table's whatever the view.
        if (view == ViewId.Host || gfn.Value == ulong.MaxValue)
        {
            ChangedHostAccess = true;
        }
        else if (!_made.Contains(view))
        {
            _restricted.Add((view, gfn));
        }
    }

    private void LeaveForViewZero()
    {
        // A view 0 that is hidden cannot be switched to, though every vCPU may be in another.
        var shown = default(HvmAltP2mOp);
        shown.Visibility.Visible = 1;
        TryUndo(AltP2mCommand.SetVisibility, ref shown);
        var operation = default(HvmAltP2mOp);
        TryUndo(AltP2mCommand.SwitchP2m, ref operation);
    }

    private void UndoInOthersViews()
    {
        foreach (var (view, gfn) in _remapped)
        {
            var operation = default(HvmAltP2mOp);
            operation.ChangeGfn.View = view.Value;
            operation.ChangeGfn.OldGfn = gfn.Value;
            operation.ChangeGfn.NewGfn = ulong.MaxValue;
            TryUndo(AltP2mCommand.ChangeGfn, ref operation);
        }

        foreach (var (view, gfn) in _restricted)
        {
            var operation = default(HvmAltP2mOp);
            operation.MemAccess.View = view.Value;
            operation.MemAccess.Gfn = gfn.Value;
            operation.MemAccess.Access = (ushort)MemoryAccess.Rwx;
            TryUndo(AltP2mCommand.SetMemAccess, ref operation);
        }

        foreach (var (view, first, last) in _unsuppressed)
        {
            var operation = default(HvmAltP2mOp);
            operation.SuppressVeMulti.View = view.Value;
            operation.SuppressVeMulti.SuppressVe = 1;
            operation.SuppressVeMulti.FirstGfn = first.Value;
            operation.SuppressVeMulti.LastGfn = last.Value;
            TryUndo(AltP2mCommand.SetSuppressVeMulti, ref operation);
        }
    }

    private void ForgetViews()
    {
        _made.Clear();
        _notified.Clear();
        _hidden.Clear();
        _remapped.Clear();
        _restricted.Clear();
        _unsuppressed.Clear();
        _moved = false;
    }

    private void TrySetState(bool on)
    {
        var operation = new HvmAltP2mOp { DomainState = on ? (byte)1 : (byte)0 };
        TryUndo(AltP2mCommand.SetDomainState, ref operation);
    }

    // EOPNOTSUPP: altp2m is off, or the domain can have none; EINVAL, EBUSY: the view is gone, or somebody else's by now.
    private void TryUndo(uint command, ref HvmAltP2mOp operation)
    {
        var result = TryCall(command, ref operation, default, default);
        if (-result is not ((int)Errno.EOPNOTSUPP or (int)Errno.EINVAL or (int)Errno.EBUSY))
        {
            ToolstackCalls.Check(result, $"undoing what was done to the altp2m views of domain {number}");
        }
    }

    private void ChangeGfn(ViewId view, Gfn gfn, ulong target, string what)
    {
        if (!_made.Contains(view))
        {
            _remapped.Add((view, gfn));
        }

        var operation = default(HvmAltP2mOp);
        operation.ChangeGfn.View = view.Value;
        operation.ChangeGfn.OldGfn = gfn.Value;
        operation.ChangeGfn.NewGfn = target;
        Call(AltP2mCommand.ChangeGfn, ref operation, what);
    }

    private void Call(uint command, ref HvmAltP2mOp operation, string what, Span<byte> first = default, Span<byte> second = default) =>
        ToolstackCalls.Check(TryCall(command, ref operation, first, second), $"{what} on domain {number}");

    private int TryCall(uint command, ref HvmAltP2mOp operation, Span<byte> first, Span<byte> second)
    {
        operation.Version = AltP2mCommand.InterfaceVersion;
        operation.Command = command;
        operation.Domain = number;
        return calls.Toolstack.HvmOp(HvmOp.AltP2m, MemoryMarshal.AsBytes(new Span<HvmAltP2mOp>(ref operation)), first, second);
    }
}
