using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Responses;

namespace Introspect.Rules.Handlers;

internal readonly record struct ControlRegisterWish(ControlRegisterIndex Register, ulong WatchMask, bool Sync, bool MayDeny, bool Optional, bool OnChangeOnly = false);

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
    private ulong[] _breakpoints = [];
    private ulong[] _addressSpaces = [];
    private uint _unchangedRegisters;
    private uint _simpleReasons;

    public List<ControlRegisterWish> ControlRegisters { get; } = [];

    public List<MsrWish> Msrs { get; } = [];

    public List<SimpleWish> Simple { get; } = [];

    public List<RangeWish> Ranges { get; } = [];

    /// <summary>Guest-physical addresses of breakpoints.</summary>
    public List<ulong> Breakpoints { get; } = [];

    /// <summary>Page-table roots of the address spaces that matter; none for all.</summary>
    public List<ulong> AddressSpaces { get; } = [];

    public bool InView { get; set; }

    public bool UserspaceRequests { get; set; }

    public bool EmulateEachRep { get; set; }

    public bool ObservesDecided { get; set; }

    public bool IsUnrecorded { get; set; }

    public bool MayStep => (_simpleReasons & (1u << (int)VmEventReason.Singlestep)) != 0;

    public void Freeze()
    {
        foreach (var wish in ControlRegisters)
        {
            _watchMasks[(int)wish.Register] |= wish.WatchMask;
            _unchangedRegisters |= wish.OnChangeOnly ? 0 : 1u << (int)wish.Register;
        }

        var msrs = Msrs.GroupBy(wish => wish.Number).OrderBy(group => group.Key).ToArray();
        _msrNumbers = Array.ConvertAll(msrs, group => group.Key);
        _msrOnChangeOnly = Array.ConvertAll(msrs, group => group.All(wish => wish.OnChangeOnly));
        foreach (var wish in Simple)
        {
            _simpleReasons |= 1u << (int)wish.Reason;
        }

        _ranges = [.. Ranges];
        _breakpoints = [.. Breakpoints.Distinct().Order()];
        _addressSpaces = [.. AddressSpaces];
    }

    public bool Matches(ref readonly VmEvent request)
    {
        if (_addressSpaces.Length != 0 && !IsInAddressSpace(in request.Registers))
        {
            return false;
        }

        switch (request.Reason)
        {
            case VmEventReason.WriteCtrlreg:
                return MatchesRegister(in request.WriteCtrlreg);
            case VmEventReason.MovToMsr:
                return MatchesMsr(in request.MovToMsr);
            case VmEventReason.MemAccess:
                return MatchesAccess(in request.MemAccess);
            case VmEventReason.SoftwareBreakpoint when _breakpoints.Length != 0 && IsSimple(VmEventReason.SoftwareBreakpoint) is false:
                return Array.BinarySearch(_breakpoints, BreakpointTable.AddressOf(in request)) >= 0;
            default:
                return IsSimple(request.Reason);
        }
    }

    private bool IsSimple(VmEventReason reason) => (uint)reason < 32 && (_simpleReasons & (1u << (int)reason)) != 0;

    private bool MatchesRegister(ref readonly VmEventWriteCtrlreg write)
    {
        var index = (uint)write.Index;
        if (index >= (uint)_watchMasks.Length || _watchMasks[index] == 0)
        {
            return false;
        }

        // A hypervisor that reports writes of the value that is there does so because it was told to.
        var changed = write.OldValue ^ write.NewValue;
        return changed == 0 ? (_unchangedRegisters & (1u << (int)index)) != 0 : (changed & _watchMasks[index]) != 0;
    }

    private bool IsInAddressSpace(ref readonly VmEventRegisters registers)
    {
        var space = AddressSpace.FromControlRegisters(registers.Cr0, registers.Cr3, registers.Cr4, registers.MsrEfer);
        foreach (var root in _addressSpaces)
        {
            if (((space.Root ^ root) & space.RootMask) == 0)
            {
                return true;
            }
        }

        return false;
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
