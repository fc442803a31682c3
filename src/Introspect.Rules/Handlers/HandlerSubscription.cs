using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Handlers;

internal readonly record struct ControlRegisterWish(ControlRegisterIndex Register, ulong WatchMask, bool Sync, bool MayDeny, bool Optional);

internal readonly record struct MsrWish(uint Number, bool OnChangeOnly, bool MayDeny, bool Optional);

internal readonly record struct SimpleWish(VmEventReason Reason, bool Sync, bool Optional);

internal readonly record struct RangeWish(ulong First, uint Count, MemAccessFlags Watched, bool PageTableWalks);

/// <summary>
/// One handler's wishes. After <see cref="Freeze"/> it answers, without allocating, whether an event is among them:
/// the hypervisor sends the union of all handlers' wishes, which may be more than this one's.
/// </summary>
internal sealed class HandlerSubscription
{
    private readonly ulong[] _watchMasks = new ulong[4];
    private uint[] _msrNumbers = [];
    private bool[] _msrOnChangeOnly = [];
    private RangeWish[] _ranges = [];
    private uint _simpleReasons;

    public List<ControlRegisterWish> ControlRegisters { get; } = [];

    public List<MsrWish> Msrs { get; } = [];

    public List<SimpleWish> Simple { get; } = [];

    public List<RangeWish> Ranges { get; } = [];

    public bool UserspaceRequests { get; set; }

    public bool EmulateEachRep { get; set; }

    public bool ObservesDecided { get; set; }

    public bool MayStep => (_simpleReasons & (1u << (int)VmEventReason.Singlestep)) != 0;

    public void Freeze()
    {
        foreach (var wish in ControlRegisters)
        {
            _watchMasks[(int)wish.Register] |= wish.WatchMask;
        }

        var msrs = Msrs.GroupBy(wish => wish.Number).OrderBy(group => group.Key).ToArray();
        _msrNumbers = Array.ConvertAll(msrs, group => group.Key);
        _msrOnChangeOnly = Array.ConvertAll(msrs, group => group.All(wish => wish.OnChangeOnly));
        foreach (var wish in Simple)
        {
            _simpleReasons |= 1u << (int)wish.Reason;
        }

        _ranges = [.. Ranges];
    }

    public bool Matches(ref readonly VmEvent request)
    {
        switch (request.Reason)
        {
            case VmEventReason.WriteCtrlreg:
                var index = (uint)request.WriteCtrlreg.Index;
                return index < (uint)_watchMasks.Length
                    && ((request.WriteCtrlreg.OldValue ^ request.WriteCtrlreg.NewValue) & _watchMasks[index]) != 0;
            case VmEventReason.MovToMsr:
                return MatchesMsr(in request.MovToMsr);
            case VmEventReason.MemAccess:
                return MatchesAccess(in request.MemAccess);
            default:
                return (uint)request.Reason < 32 && (_simpleReasons & (1u << (int)request.Reason)) != 0;
        }
    }

    private bool MatchesMsr(ref readonly VmEventMovToMsr write)
    {
        if (write.Msr > uint.MaxValue)
        {
            return false;
        }

        var index = Array.BinarySearch(_msrNumbers, (uint)write.Msr);
        return index >= 0 && (!_msrOnChangeOnly[index] || write.NewValue != write.OldValue);
    }

    private bool MatchesAccess(ref readonly VmEventMemAccess access)
    {
        foreach (ref readonly var range in _ranges.AsSpan())
        {
            if (access.Gfn - range.First < range.Count
                && (access.Flags & range.Watched) != 0
                && (range.PageTableWalks || (access.Flags & MemAccessFlags.FaultInGpt) == 0))
            {
                return true;
            }
        }

        return false;
    }
}
