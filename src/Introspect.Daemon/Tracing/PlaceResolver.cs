using Introspect.Daemon.Cli;
using Introspect.Daemon.Symbols;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Tracing;

/// <summary>
/// Finds the guest-physical places of virtual addresses: by the page tables of the processes that the user named, or of
/// the vCPUs; for a guest that was built and has none yet, by where its image was loaded.
/// </summary>
internal sealed class PlaceResolver
{
    private readonly IDomain _domain;
    private readonly ISymbolSource? _symbols;
    private readonly Func<ulong, GuestPhysical?>? _loadAddress;
    private readonly List<AddressSpace> _spaces = [];

    /// <summary>Makes a resolver for the domain as it is now.</summary>
    public PlaceResolver(IDomain domain, ISymbolSource? symbols, IReadOnlyList<ulong> processes, Func<ulong, GuestPhysical?>? loadAddress)
    {
        _domain = domain;
        _symbols = symbols;
        _loadAddress = loadAddress;
        var vcpus = domain.GetInfo().VcpuCount;
        for (var vcpu = 0u; vcpu < vcpus; vcpu++)
        {
            if (TryReadSpace(vcpu) is { } space && !_spaces.Contains(space))
            {
                _spaces.Add(space);
            }
        }

        if (processes.Count != 0)
        {
            var like = _spaces.Find(space => space.Mode != PagingMode.None);
            var mode = like == default ? PagingMode.FourLevel : like.Mode;
            _spaces.Clear();
            _spaces.AddRange(processes.Select(root => new AddressSpace(mode, root, like.PageSizeExtension)));
        }
    }

    /// <summary>The selection with everything in it that was named by virtual address, and where stepping begins.</summary>
    /// <exception cref="UserError">A symbol is unknown, or an address is not mapped.</exception>
    public (EventSelection Selection, GuestPhysical? StepFrom) Resolve(EventChoice choice)
    {
        var places = choice.Places;
        var memory = new List<MemoryWatch>(choice.Selection.Memory);
        foreach (var range in places.Ranges)
        {
            Watch(range, memory);
        }

        var breakpoints = places.Breakpoints.Select(place => Find(place, "--int3")).ToList();
        GuestPhysical? from = places.StepFrom is { } start ? Find(start, "--from") : null;
        if (from is { } first && !breakpoints.Contains(first))
        {
            breakpoints.Add(first);
        }

        return (choice.Selection with { Memory = memory, Breakpoints = [.. choice.Selection.Breakpoints, .. breakpoints.Distinct()] }, from);
    }

    private GuestPhysical Find(Place place, string option)
    {
        var address = place.Resolve(_symbols, option);
        return TryTranslate(address) ?? throw NotMapped(option, place.Text, address);
    }

    private void Watch(PlaceRange range, List<MemoryWatch> memory)
    {
        var (first, last) = range.Resolve(_symbols);
        for (var page = first >> Gfn.PageShift; page <= last >> Gfn.PageShift; page++)
        {
            var address = page << Gfn.PageShift;
            var gfn = (TryTranslate(address) ?? throw NotMapped(range.Option, range.Text, address)).Gfn;
            if (memory.Count != 0 && memory[^1] is var run && run.Watched == range.Watched && run.First.Value + run.Count == gfn.Value)
            {
                memory[^1] = run with { Count = run.Count + 1 };
            }
            else
            {
                memory.Add(new(gfn, 1, range.Watched));
            }
        }
    }

    private GuestPhysical? TryTranslate(ulong address)
    {
        foreach (var space in _spaces)
        {
            if (space.Mode == PagingMode.None && _loadAddress?.Invoke(address) is { } loaded)
            {
                return loaded;
            }

            if (_domain.Memory.TryTranslate(in space, new(address), out var physical) && IsThere(physical))
            {
                return physical;
            }
        }

        return null;
    }

    private bool IsThere(GuestPhysical address)
    {
        Span<byte> one = stackalloc byte[1];
        try
        {
            _domain.Memory.ReadPhysical(address, one);
            return true;
        }
        catch (HypervisorException e) when (e.Error == Errno.EFAULT)
        {
            return false;
        }
    }

    private AddressSpace? TryReadSpace(uint vcpu)
    {
        try
        {
            return _domain.ReadVcpu(new(vcpu)).AddressSpace;
        }
        catch (HypervisorException e) when (e.Error is Errno.ENODATA or Errno.ENOENT)
        {
            // It is not up.
            return null;
        }
    }

    private UserError NotMapped(string option, string text, ulong address) => UserError.Failure(
        $"{option} '{text}': address 0x{address:x} is not mapped in {Spaces()}; name the process that maps it with --process CR3, or start the trace when it is mapped");

    private string Spaces() => _spaces switch
    {
        [] => "the guest, of which no vCPU is up",
        [{ Mode: PagingMode.None }] => "the guest, which has not switched paging on",
        [var only] => $"the address space of CR3 0x{only.Root:x}",
        _ => "the address spaces of CR3 " + string.Join(", ", _spaces.Select(space => $"0x{space.Root:x}")),
    };
}
