using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Pump;

namespace Introspect.Rules.Responses;

/// <summary>
/// An altp2m view in which the pump watches: pages have their restricted rights there alone, and breakpoints are in
/// copies of the guest's pages that the guest can run and not read. A vCPU that is to get past leaves the view for one
/// step, so that all others stay watched and the guest's own memory stays as it is: past a breakpoint into a view with
/// the rights and without the copies, past an access into the host's.
/// </summary>
/// <remarks>An instruction that touches several watched pages is told once: the host's view has the rights to all.</remarks>
internal sealed class PumpView(IDomain domain, IMonitor monitor, SubscriptionPlan plan, BreakpointTable breakpoints)
{
    private readonly Dictionary<ulong, Gfn> _shadows = [];
    private readonly byte[] _page = new byte[Gfn.PageSize];
    private readonly byte[] _present = new byte[Gfn.PageSize];
    private readonly List<ViewId> _made = [];

    /// <summary>The view.</summary>
    public ViewId Id { get; private set; }

    /// <summary>Where a vCPU gets past a breakpoint: the same rights, and the guest's own code.</summary>
    public ViewId WithoutBreakpoints { get; private set; }

    /// <summary>Makes the view and puts every vCPU into it. The caller holds the domain paused.</summary>
    /// <exception cref="HypervisorException">EOPNOTSUPP: the domain can have no views; EINVAL: there are as many as there can be.</exception>
    public void Enter()
    {
        var views = monitor.Views;
        if (views.Use == AltP2mUse.Disabled)
        {
            views.Allow(AltP2mUse.External);
        }

        if (!views.IsActive)
        {
            views.SetActive(true);
        }

        Id = MakeRestricted(views);
        WithoutBreakpoints = breakpoints.IsEmpty || plan.Rights.IsEmpty ? ViewId.Host : MakeRestricted(views);
        foreach (var gfn in breakpoints.Pages)
        {
            MakeShadow(views, gfn);
        }

        views.SwitchTo(Id);
    }

    /// <summary>Brings the copy of a page up to date: the guest may have written to it.</summary>
    /// <exception cref="HypervisorException">The page is gone.</exception>
    public void Refresh(ulong gfn)
    {
        if (_shadows.TryGetValue(gfn, out var shadow))
        {
            Read(gfn);
            breakpoints.InsertInto(gfn, _page);
            Update(shadow);
        }
    }

    /// <summary>Ends the view, whatever is refused meanwhile. The caller holds the domain paused.</summary>
    public void Leave(Func<string, Action, bool> attempt)
    {
        if (_made.Count != 0)
        {
            attempt("leaving the altp2m view", () => monitor.Views.SwitchTo(ViewId.Host));
        }

        foreach (var view in _made)
        {
            attempt("ending the altp2m view", () => monitor.Views.Destroy(view));
        }

        _made.Clear();
        foreach (var (_, shadow) in _shadows)
        {
            attempt($"taking back frame {shadow}", () => domain.RemoveFrame(shadow));
        }

        _shadows.Clear();
    }

    private ViewId MakeRestricted(IAltp2m views)
    {
        var view = views.Create();
        _made.Add(view);
        foreach (var (first, count, access) in plan.Rights.Runs)
        {
            for (var gfn = first; gfn - first < count; gfn++)
            {
                views.SetAccess(view, new(gfn), access);
            }
        }

        return view;
    }

    private void MakeShadow(IAltp2m views, ulong gfn)
    {
        var shadow = domain.AddFrame();
        _shadows.Add(gfn, shadow);
        Read(gfn);
        breakpoints.InsertInto(gfn, _page);
        domain.Memory.WritePhysical(shadow.Address, _page);
        views.Remap(Id, new(gfn), shadow);
        var isFetchWatched = plan.Rights[gfn] is MemoryAccess.N or MemoryAccess.R or MemoryAccess.W or MemoryAccess.Rw;
        views.SetAccess(Id, new(gfn), isFetchWatched ? MemoryAccess.N : MemoryAccess.X);
    }

    private void Read(ulong gfn) => domain.Memory.ReadPhysical(new Gfn(gfn).Address, _page);

    /// <summary>Writes what is different and nothing else: other vCPUs run the copy meanwhile.</summary>
    private void Update(Gfn shadow)
    {
        domain.Memory.ReadPhysical(shadow.Address, _present);
        for (var from = 0; from < _page.Length;)
        {
            var same = _page.AsSpan(from).CommonPrefixLength(_present.AsSpan(from));
            from += same;
            var until = from;
            while (until < _page.Length && _page[until] != _present[until])
            {
                until++;
            }

            if (until > from)
            {
                domain.Memory.WritePhysical(shadow.Address + (ulong)from, _page.AsSpan(from..until));
            }

            from = until;
        }
    }
}
