using Introspect.Hypervisor;
using Introspect.Rules.Language;

namespace Introspect.Rules.Running;

/// <summary>A domain that has events and no page tables: what is linear is known of its events alone.</summary>
internal interface IHasNoPageTables;

/// <summary>
/// The frames behind linear addresses of a guest: by its own page tables, as they are when it is looked. A page that cannot
/// be found now, because the process that maps it does not run, stays where it was found last.
/// </summary>
/// <param name="linear">The addresses.</param>
/// <param name="roots">Page-table roots to look in; none: those that the vCPUs have.</param>
internal sealed class LinearPages(NumberSet linear, IReadOnlyList<ulong> roots)
{
    /// <summary>Pages of a rule: each is looked up by itself.</summary>
    public const ulong Most = 1 << 18;

    private readonly Dictionary<ulong, ulong> _frames = [];

    /// <summary>The frames that were found.</summary>
    public NumberSet Frames => NumberSet.Of(_frames.Values.Select(frame => new NumberRange(frame, frame)));

    /// <summary>All pages.</summary>
    public long Count { get; } = (long)PagesOf(linear);

    /// <summary>Pages that were never found.</summary>
    public long Missing => Count - _frames.Count;

    /// <summary>How many pages the addresses touch.</summary>
    public static ulong PagesOf(NumberSet linear)
    {
        var count = UInt128.Zero;
        foreach (var range in Pages(linear).Ranges)
        {
            count += (UInt128)(range.Last - range.First) + 1;
        }

        return (ulong)UInt128.Min(count, ulong.MaxValue);
    }

    /// <summary>Looks again.</summary>
    /// <returns>True when a page is elsewhere than it was.</returns>
    public bool Refresh(IDomain domain)
    {
        var spaces = Spaces(domain);
        var changed = false;
        foreach (var range in Pages(linear).Ranges)
        {
            for (var page = range.First; page <= range.Last; page++)
            {
                if (TryFind(domain.Memory, spaces, page << Gfn.PageShift, out var frame) && !(_frames.TryGetValue(page, out var before) && before == frame))
                {
                    _frames[page] = frame;
                    changed = true;
                }
            }
        }

        return changed;
    }

    private static NumberSet Pages(NumberSet linear) => NumberSet.Of(linear.Ranges.Select(range => new NumberRange(range.First >> Gfn.PageShift, range.Last >> Gfn.PageShift)));

    private static bool TryFind(IGuestMemory memory, List<AddressSpace> spaces, ulong address, out ulong frame)
    {
        foreach (var space in spaces)
        {
            try
            {
                if (memory.TryTranslate(in space, new(address), out var physical))
                {
                    frame = physical.Gfn.Value;
                    return true;
                }
            }
            catch (HypervisorException)
            {
                // Tables that cannot be read map nothing now.
            }
        }

        frame = 0;
        return false;
    }

    // A vCPU without paging has not come to where the addresses mean anything.
    private List<AddressSpace> Spaces(IDomain domain)
    {
        var spaces = new List<AddressSpace>();
        for (var vcpu = 0u; vcpu < domain.GetInfo().VcpuCount; vcpu++)
        {
            try
            {
                var space = domain.ReadVcpu(new(vcpu)).AddressSpace;
                if (space.Mode != PagingMode.None && !spaces.Contains(space))
                {
                    spaces.Add(space);
                }
            }
            catch (HypervisorException)
            {
                // It is not up, or the domain goes.
            }
        }

        return roots.Count == 0 || spaces.Count == 0 ? spaces : [.. roots.Select(root => spaces[0] with { Root = root })];
    }
}
