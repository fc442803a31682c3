using Introspect.Daemon.Cli;
using Introspect.Daemon.Symbols;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Inspection;

/// <summary>
/// A vCPU as it was at one moment, and the memory as it sees it. The vCPU is stopped for that moment and no longer; what
/// is read of the memory afterwards is as it is then.
/// </summary>
internal sealed class InspectedVcpu
{
    private readonly IDomain _domain;
    private readonly AddressSpace _space;

    private InspectedVcpu(IDomain domain, DomainInfo info, VcpuId vcpu, VcpuState state, AddressSpace space, ISymbolSource? symbols)
    {
        _domain = domain;
        _space = space;
        Info = info;
        Vcpu = vcpu;
        State = state;
        Symbols = symbols;
    }

    /// <summary>The domain.</summary>
    public DomainInfo Info { get; }

    /// <summary>Which vCPU.</summary>
    public VcpuId Vcpu { get; }

    /// <summary>Its state.</summary>
    public VcpuState State { get; }

    /// <summary>Names for addresses.</summary>
    public ISymbolSource? Symbols { get; }

    /// <summary>Linear address of the instruction that the vCPU is at.</summary>
    public ulong Rip => Bitness == 64 ? State.Rip : (uint)(State.Cs.Base + State.Rip);

    /// <summary>Width of the code that the vCPU runs, bits.</summary>
    public int Bitness
    {
        get
        {
            const ulong EferLma = 1UL << 10;
            const uint Long = 1 << 13;
            const uint Default32 = 1 << 14;
            return (State.MsrEfer & EferLma) != 0 && (State.Cs.AccessRights & Long) != 0 ? 64
                : (State.Cs.AccessRights & Default32) != 0 ? 32 : 16;
        }
    }

    /// <summary>Looks at a vCPU.</summary>
    /// <exception cref="UserError">There is no such vCPU, or it is not up.</exception>
    public static InspectedVcpu Read(IDomain domain, InspectionTarget target, ISymbolSource? symbols)
    {
        var info = domain.GetInfo();
        if (target.Vcpu.Value >= info.VcpuCount)
        {
            throw UserError.Failure($"--vcpu: domain {info.Id} has no vCPU {target.Vcpu}; it has {(info.VcpuCount == 1 ? "vCPU 0 alone" : $"vCPUs 0 to {info.VcpuCount - 1}")}");
        }

        try
        {
            var state = domain.ReadVcpu(target.Vcpu);
            var space = state.AddressSpace;
            if (target.Cr3 is { } root)
            {
                space = space with { Root = root, Mode = space.Mode == PagingMode.None ? PagingMode.FourLevel : space.Mode };
            }

            return new(domain, info, target.Vcpu, state, space, symbols);
        }
        catch (HypervisorException e) when (e.Error is Errno.ENODATA or Errno.ENOENT)
        {
            throw UserError.Failure($"--vcpu: vCPU {target.Vcpu} of domain {info.Id} is not up; name another one", e);
        }
    }

    /// <summary>Reads as much as is there, at most up to the first page that is not.</summary>
    /// <returns>Bytes read.</returns>
    public int TryRead(ulong address, Span<byte> destination, bool isPhysical = false)
    {
        var read = 0;
        while (read < destination.Length)
        {
            var at = unchecked(address + (ulong)read);
            var length = Math.Min(destination.Length - read, Gfn.PageSize - (int)(at & (Gfn.PageSize - 1)));
            try
            {
                if (isPhysical)
                {
                    _domain.Memory.ReadPhysical(new(at), destination.Slice(read, length));
                }
                else
                {
                    _domain.Memory.ReadVirtual(in _space, new(at), destination.Slice(read, length));
                }
            }
            catch (HypervisorException e) when (e.Error == Errno.EFAULT)
            {
                break;
            }

            read += length;
        }

        return read;
    }

    /// <summary>Reads, or says which address is not there.</summary>
    /// <exception cref="UserError">A page is not there.</exception>
    public void Read(ulong address, Span<byte> destination, bool isPhysical)
    {
        var read = TryRead(address, destination, isPhysical);
        if (read < destination.Length)
        {
            throw NotThere(unchecked(address + (ulong)read), isPhysical);
        }
    }

    /// <summary>What is to be said of an address that is not there.</summary>
    public UserError NotThere(ulong address, bool isPhysical = false) => UserError.Failure(
        isPhysical ? $"guest-physical address 0x{address:x} is not in the memory of domain {Info.Id}; 'introspect list' tells how much it has"
        : _space.Mode == PagingMode.None ? $"address 0x{address:x} is not in the memory of domain {Info.Id}, where vCPU {Vcpu} has paging off"
        : $"address 0x{address:x} is not mapped in the address space of CR3 0x{_space.Root:x}; name another one with --cr3, or read guest-physical memory with 'mem --physical'");
}
