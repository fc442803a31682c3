using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Tests.Mocks;

/// <summary>Views without a hypervisor: what was set in the one that was made.</summary>
public sealed class MockViews(CallLog log) : IAltp2m
{
    private readonly List<ViewId> _made = [];

    /// <summary>The first view that is made.</summary>
    public static ViewId Made => new(4);

    /// <summary>Rights in the first view.</summary>
    public Dictionary<ulong, MemoryAccess> Access { get; } = [];

    /// <summary>Rights in the other one.</summary>
    public Dictionary<ulong, MemoryAccess> OtherAccess { get; } = [];

    public Dictionary<ulong, Gfn> Remapped { get; } = [];

    public bool Exists => _made.Count != 0;

    public ViewId Current { get; private set; }

    public AltP2mUse Use { get; private set; }

    public bool IsActive { get; private set; }

    public void Allow(AltP2mUse use)
    {
        log.Called("AllowViews", use.ToString());
        Use = use;
    }

    public void SetActive(bool on)
    {
        log.Called("SetActive", on.ToString());
        IsActive = on;
    }

    public ViewId Create(MemoryAccess defaultAccess = MemoryAccess.Rwx)
    {
        log.Called("CreateView");
        _made.Add(new((ushort)(Made.Value + _made.Count)));
        return _made[^1];
    }

    public void Destroy(ViewId view)
    {
        log.Called("DestroyView", view.ToString());
        _made.Remove(view);
        Access.Clear();
        Remapped.Clear();
    }

    public void SwitchTo(ViewId view)
    {
        log.Called("SwitchTo", view.ToString());
        Current = view;
    }

    public ViewId GetView(VcpuId vcpu) => Current;

    public void SetAccess(ViewId view, Gfn gfn, MemoryAccess access)
    {
        log.Called("SetViewAccess", $"{view} {gfn} {access}");
        (view == Made ? Access : OtherAccess)[gfn.Value] = access;
    }

    public void SetAccess(ViewId view, ReadOnlySpan<Gfn> gfns, ReadOnlySpan<MemoryAccess> accesses)
    {
        for (var i = 0; i < gfns.Length; i++)
        {
            SetAccess(view, gfns[i], accesses[i]);
        }
    }

    public MemoryAccess GetAccess(ViewId view, Gfn gfn) => Access[gfn.Value];

    public void Remap(ViewId view, Gfn gfn, Gfn target)
    {
        log.Called("Remap", $"{view} {gfn} {target}");
        Remapped[gfn.Value] = target;
    }

    public void Restore(ViewId view, Gfn gfn) => Remapped.Remove(gfn.Value);

    public void SetVisible(ViewId view, bool visible) => throw new NotSupportedException();

    public void SetSuppressVe(ViewId view, Gfn first, Gfn last, bool suppress) => throw new NotSupportedException();

    public bool GetSuppressVe(ViewId view, Gfn gfn) => throw new NotSupportedException();

    public void EnableNotify(VcpuId vcpu, Gfn page) => throw new NotSupportedException();

    public void DisableNotify(VcpuId vcpu) => throw new NotSupportedException();
}
