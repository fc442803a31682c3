using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core;

/// <summary>A domain's altp2m views, through the toolstack's door.</summary>
/// <param name="calls">The door.</param>
/// <param name="number">The domain.</param>
internal sealed class CoreAltp2m(ToolstackCalls calls, ushort number) : IAltp2m
{
    private readonly List<ViewId> _made = [];
    private bool _switched;
    private bool _switchedOn;

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
            _made.Clear();
            _switched = false;
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
    }

    /// <inheritdoc/>
    public void SwitchTo(ViewId view)
    {
        var operation = default(HvmAltP2mOp);
        operation.View.View = view.Value;
        Call(AltP2mCommand.SwitchP2m, ref operation, $"switching to altp2m view {view}");
        _switched = true;
    }

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

        var bytes = new byte[accesses.Length];
        for (var n = 0; n < bytes.Length; n++)
        {
            bytes[n] = (byte)accesses[n];
        }

        var operation = default(HvmAltP2mOp);
        operation.SetMemAccessMulti.View = view.Value;
        operation.SetMemAccessMulti.Nr = (uint)gfns.Length;
        operation.SetMemAccessMulti.PfnList = operation.SetMemAccessMulti.AccessList = 1;
        var list = MemoryMarshal.AsBytes(gfns).ToArray();
        Call(AltP2mCommand.SetMemAccessMulti, ref operation, $"setting the access of {gfns.Length} frames in altp2m view {view}", list, bytes);
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
    }

    /// <inheritdoc/>
    public void SetSuppressVe(ViewId view, Gfn first, Gfn last, bool suppress)
    {
        var operation = default(HvmAltP2mOp);
        operation.SuppressVeMulti.View = view.Value;
        operation.SuppressVeMulti.SuppressVe = suppress ? (byte)1 : (byte)0;
        operation.SuppressVeMulti.FirstGfn = first.Value;
        operation.SuppressVeMulti.LastGfn = last.Value;
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
    }

    /// <inheritdoc/>
    public void DisableNotify(VcpuId vcpu)
    {
        var operation = new HvmAltP2mOp { DisableNotifyVcpu = vcpu.Value };
        Call(AltP2mCommand.VcpuDisableNotify, ref operation, $"taking the page for #VE from vCPU {vcpu}");
    }

    /// <summary>
    /// Undoes what was done: every vCPU is in view 0 again, the views that were made are gone, and altp2m is off when it
    /// was before. The domain is paused.
    /// </summary>
    public void Undo()
    {
        if (_switchedOn)
        {
            SetActive(false);
            return;
        }

        // A response may have moved a vCPU without SwitchTo; views of others are not ours to leave.
        if (_switched || _made.Count != 0)
        {
            SwitchTo(ViewId.Host);
        }

        foreach (var view in _made.ToArray())
        {
            Destroy(view);
        }

        _switched = false;
    }

    /// <summary>Ends the views that a monitor left behind, where they are the toolstack's alone.</summary>
    public static void Recover(ToolstackCalls calls, ushort number)
    {
        var views = new CoreAltp2m(calls, number);
        var off = new HvmAltP2mOp();
        if (views.Use is AltP2mUse.External or AltP2mUse.Limited)
        {
            // EOPNOTSUPP: allowed on a domain that can have none.
            var result = views.TryCall(AltP2mCommand.SetDomainState, ref off, default, default);
            ToolstackCalls.Check(result == -(int)Errno.EOPNOTSUPP ? 0 : result, $"switching altp2m off on domain {number}");
        }
    }

    private void ChangeGfn(ViewId view, Gfn gfn, ulong target, string what)
    {
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
