using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Core;

/// <summary>
/// The toolstack's door with types: builds the structures, makes the call and turns an errno into an exception that
/// says what was asked. Nothing is decided here.
/// </summary>
internal sealed class ToolstackCalls(IToolstack toolstack)
{
    /// <summary>The raw door.</summary>
    public IToolstack Toolstack => toolstack;

    /// <summary>The domains, from a number on.</summary>
    public IReadOnlyList<DomctlGetDomainInfo> ListDomains()
    {
        const int Batch = 64;
        var found = new List<DomctlGetDomainInfo>();
        var buffer = new DomctlGetDomainInfo[Batch];
        uint next = 0;
        while (true)
        {
            var sysctl = new XenSysctl { Command = SysctlCommand.GetDomainInfoList, InterfaceVersion = XenInterface.CoreSysctl };
            sysctl.GetDomainInfoList.FirstDomain = (ushort)next;
            sysctl.GetDomainInfoList.MaxDomains = Batch;
            sysctl.GetDomainInfoList.Buffer = 1;
            Check(toolstack.Sysctl(Bytes(ref sysctl), MemoryMarshal.AsBytes(buffer.AsSpan())), "listing the domains");
            var count = (int)sysctl.GetDomainInfoList.NumDomains;
            found.AddRange(buffer.AsSpan(0, Math.Min(count, Batch)));
            if (count < Batch || found[^1].Domain == ushort.MaxValue)
            {
                return found;
            }

            next = found[^1].Domain + 1u;
        }
    }

    /// <summary>One domain.</summary>
    public DomctlGetDomainInfo GetDomainInfo(ushort domain)
    {
        var domctl = Domctl(DomctlCommand.GetDomainInfo, domain);
        Call(ref domctl, default, $"asking for domain {domain}");

        // Xen answers with the next domain where this one does not exist.
        return domctl.Domain == domain
            ? domctl.GetDomainInfo
            : throw new HypervisorException(Errno.ESRCH, $"there is no domain {domain}: 'introspect list' shows those there are");
    }

    /// <summary>A domctl without arguments.</summary>
    public void Domctl(uint command, ushort domain, string what)
    {
        var domctl = Domctl(command, domain);
        Call(ref domctl, default, what);
    }

    /// <summary>A domctl with its structure filled in.</summary>
    public void Call(ref XenDomctl domctl, Span<byte> buffer, string what) => Check(TryCall(ref domctl, buffer), what);

    /// <summary>A domctl whose error is the caller's to judge.</summary>
    public Errno TryCall(ref XenDomctl domctl, Span<byte> buffer) => ErrnoOf(toolstack.Domctl(Bytes(ref domctl), buffer, default));

    /// <summary>An empty domctl.</summary>
    public static XenDomctl Domctl(uint command, ushort domain) =>
        new() { Command = command, InterfaceVersion = XenInterface.CoreDomctl, Domain = domain };

    /// <summary>Operates the monitor ring.</summary>
    public Errno TryRing(ushort domain, VmEventOperation operation, out uint port)
    {
        var domctl = Domctl(DomctlCommand.VmEventOp, domain);
        domctl.VmEventOp.Op = operation;
        domctl.VmEventOp.Mode = VmEventMode.Monitor;
        var result = TryCall(ref domctl, default);
        port = domctl.VmEventOp.EnablePort;
        return result;
    }

    /// <summary>The version of vm_event that the hypervisor speaks.</summary>
    public uint GetVmEventVersion()
    {
        var domctl = Domctl(DomctlCommand.VmEventOp, SpecialDomain.Invalid);
        domctl.VmEventOp.Op = VmEventOperation.GetVersion;
        domctl.VmEventOp.Mode = VmEventMode.Monitor;
        Call(ref domctl, default, "asking for the version of vm_event");
        return domctl.VmEventOp.Version;
    }

    /// <summary>Reads an HVM parameter.</summary>
    public ulong GetParam(ushort domain, uint index)
    {
        var argument = new HvmParamArgument { Domid = domain, Index = index };
        Check(toolstack.HvmOp(HvmOp.GetParam, Bytes(ref argument), default, default), $"reading parameter {index} of domain {domain}");
        return argument.Value;
    }

    /// <summary>Writes an HVM parameter.</summary>
    public void SetParam(ushort domain, uint index, ulong value)
    {
        var argument = new HvmParamArgument { Domid = domain, Index = index, Value = value };
        Check(toolstack.HvmOp(HvmOp.SetParam, Bytes(ref argument), default, default), $"setting parameter {index} of domain {domain} to 0x{value:x}");
    }

    /// <summary>Tells a domain its memory map.</summary>
    public void SetMemoryMap(ushort domain, Span<E820Entry> map)
    {
        var argument = new ForeignMemoryMap { Domid = domain, Map = new() { NrEntries = (uint)map.Length } };
        Check(toolstack.MemoryOp(MemoryOp.SetMemoryMap, Bytes(ref argument), MemoryMarshal.AsBytes(map), default), $"telling domain {domain} its memory map");
    }

    /// <summary>Populates frames, each of 2 to the power of the order pages.</summary>
    public void Populate(ushort domain, Span<ulong> gfns, uint order = 0)
    {
        var done = Reserve(MemoryOp.PopulatePhysmap, domain, gfns, order);
        if (done != gfns.Length)
        {
            throw new HypervisorException(
                done < 0 ? (Errno)(-done) : Errno.ENOMEM,
                $"domain {domain} got {Math.Max(done, 0)} of {gfns.Length} extents from frame 0x{gfns[0]:x} on: is its max_mem large enough?");
        }
    }

    /// <summary>Takes frames out of the physmap.</summary>
    /// <returns>False when one of them is not there.</returns>
    public bool TryDepopulate(ushort domain, Span<ulong> gfns) =>
        Reserve(MemoryOp.DecreaseReservation, domain, gfns, 0) == gfns.Length;

    /// <summary>The highest frame.</summary>
    public ulong MaximumGfn(ushort domain)
    {
        var argument = new MemoryDomain { Domid = domain };
        return (ulong)Check(toolstack.MemoryOp(MemoryOp.MaximumGpfn, Bytes(ref argument), default, default), $"asking for the highest frame of domain {domain}");
    }

    /// <summary>An access operation whose error is the caller's to judge.</summary>
    public Errno TryAccess(ref MemAccessOp operation) => TryAccess(ref operation, default, default);

    /// <summary>An access operation with lists of frames and rights.</summary>
    public Errno TryAccess(ref MemAccessOp operation, Span<byte> gfns, Span<byte> accesses) =>
        ErrnoOf(toolstack.MemoryOp(MemoryOp.AccessOp, Bytes(ref operation), gfns, accesses));

    /// <summary>A memory sharing operation whose error is the caller's to judge.</summary>
    public Errno TrySharing(ref MemSharingOp operation) =>
        ErrnoOf(toolstack.MemoryOp(MemoryOp.SharingOp, Bytes(ref operation), default, default));

    /// <summary>Maps guest pages.</summary>
    /// <exception cref="HypervisorException">EFAULT: one of them is not there.</exception>
    public ForeignMapping Map(ushort domain, ReadOnlySpan<ulong> gfns, bool writable) =>
        TryMap(domain, gfns, writable) is { } mapping
            ? mapping
            : throw new HypervisorException(Errno.EFAULT, $"a page from frame 0x{gfns[0]:x} on is not in domain {domain}");

    /// <summary>Maps guest pages; null when one of them is not there.</summary>
    public ForeignMapping? TryMap(ushort domain, ReadOnlySpan<ulong> gfns, bool writable)
    {
        var result = toolstack.MapForeign(domain, gfns, writable, out var mapping);
        if (result == -(int)Errno.EFAULT)
        {
            return null;
        }

        Check(result, $"mapping {gfns.Length} pages of domain {domain}");
        return mapping;
    }

    /// <summary>Binds an event channel.</summary>
    public EventChannel Bind(ushort domain, uint port)
    {
        Check(toolstack.BindInterdomain(domain, port, out var channel), $"binding event channel {port} of domain {domain}");
        return channel!;
    }

    /// <summary>A device model operation.</summary>
    public void DmOp(ushort domain, ref XenDmOp operation, string what) => Check(toolstack.DmOp(domain, Bytes(ref operation)), what);

    /// <summary>Throws where a result is an error.</summary>
    public static int Check(int result, string what) =>
        result >= 0 ? result : throw new HypervisorException((Errno)(-result), $"{what} failed");

    /// <summary>Throws where there is an error.</summary>
    public static void Check(Errno error, string what) => Check(-(int)error, what);

    private int Reserve(uint command, ushort domain, Span<ulong> gfns, uint order)
    {
        var reservation = new MemoryReservation { ExtentStart = 1, NrExtents = (ulong)gfns.Length, ExtentOrder = order, Domid = domain };
        return toolstack.MemoryOp(command, Bytes(ref reservation), MemoryMarshal.AsBytes(gfns), default);
    }

    private static Errno ErrnoOf(int result) => result < 0 ? (Errno)(-result) : Errno.None;

    private static Span<byte> Bytes<T>(ref T value)
        where T : unmanaged => MemoryMarshal.AsBytes(new Span<T>(ref value));
}
