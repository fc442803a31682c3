using System.Diagnostics.CodeAnalysis;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>
/// What of an image goes where in a guest's memory, whichever protocol boots it: its segments by physical address and,
/// when it asks for them, its symbols behind the last one.
/// </summary>
internal sealed class ImageLayout
{
    private readonly ElfImage _image;
    private readonly List<ElfSegment> _segments;

    private ImageLayout(ElfImage image, List<ElfSegment> segments)
    {
        (_image, _segments) = (image, segments);
        Symbols = BsdSymbols.Plan(image, segments[^1].PhysicalEnd);
    }

    /// <summary>The first address of the lowest segment.</summary>
    public ulong Start => _segments[0].PhysicalAddress;

    /// <summary>The symbols that the image asked for; null when it did not, or has none that are whole.</summary>
    public BsdSymbols? Symbols { get; }

    /// <summary>The first address behind everything.</summary>
    public ulong End => Symbols?.End ?? _segments[^1].PhysicalEnd;

    /// <summary>Finds the places. Nothing is written, and all of it lies below the hole; how much RAM the guest has is the caller's to check.</summary>
    public static bool TryPlan(
        ElfImage image,
        [NotNullWhen(true)] out ImageLayout? layout,
        [NotNullWhen(false)] out ElfError? error)
    {
        layout = null;
        error = null;
        if (image.XenInfo.Features.UnknownRequired is { } feature)
        {
            error = new ElfError(
                ElfErrorKind.UnknownFeature,
                $"the image requires the feature '{feature}' of Xen, which is not known; build it for an older Xen");
            return false;
        }

        List<ElfSegment> ordered = [.. image.LoadableSegments.OrderBy(s => s.PhysicalAddress)];
        if (ordered.Count == 0)
        {
            error = new ElfError(
                ElfErrorKind.NothingToLoad,
                $"none of the image's {image.Segments.Count} program headers loads anything; give a linked kernel, not a module or a debug file");
            return false;
        }

        for (int i = 1; i < ordered.Count; i++)
        {
            ElfSegment below = ordered[i - 1];
            if (ordered[i].PhysicalAddress < below.PhysicalEnd)
            {
                error = new ElfError(
                    ElfErrorKind.Overlap,
                    $"program headers {below.Index} and {ordered[i].Index} both load to 0x{ordered[i].PhysicalAddress:x}; link the image with physical addresses of its own for each");
                return false;
            }
        }

        ElfSegment last = ordered[^1];
        if (last.PhysicalEnd > GuestMemoryMap.HoleStart)
        {
            error = new ElfError(
                ElfErrorKind.OutsideMemory,
                $"program header {last.Index} ends at 0x{last.PhysicalEnd:x}, where a domain has no RAM (from 0x{GuestMemoryMap.HoleStart:x}); link the image lower");
            return false;
        }

        layout = new ImageLayout(image, ordered);
        return true;
    }

    /// <summary>Writes everything.</summary>
    public void Write(IGuestLoader guest)
    {
        foreach (ElfSegment segment in _segments)
        {
            guest.WritePhysical(segment.PhysicalAddress, _image.Content(segment).Span);
            guest.Clear(segment.PhysicalAddress + segment.FileSize, segment.MemorySize - segment.FileSize);
        }

        Symbols?.Write(guest);
    }
}
