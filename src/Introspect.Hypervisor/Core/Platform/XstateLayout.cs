namespace Introspect.Hypervisor.Core.Platform;

/// <summary>Sizes and places of the XSAVE area's components, of those that the core knows.</summary>
internal static class XstateLayout
{
    /// <summary>Legacy region and header: the least size of an area.</summary>
    public const uint BaseSize = 512 + 64;

    /// <summary>Size of a component, 0 for the legacy ones and unknown ones.</summary>
    public static uint SizeOf(int component) => component switch
    {
        2 => 256,
        9 => 8,
        _ => 0,
    };

    /// <summary>Offset of a component in the standard format.</summary>
    public static uint OffsetOf(int component) => component switch
    {
        2 => 576,
        9 => 2688,
        _ => 0,
    };

    /// <summary>Size of the area in the standard format for a set of components.</summary>
    public static uint StandardSize(ulong components)
    {
        var size = BaseSize;
        for (var i = 2; i < 63; i++)
        {
            if (((components >> i) & 1) != 0)
            {
                size = Math.Max(size, OffsetOf(i) + SizeOf(i));
            }
        }

        return size;
    }

    /// <summary>Size of the area in the compacted format for a set of components.</summary>
    public static uint CompactedSize(ulong components)
    {
        var size = BaseSize;
        for (var i = 2; i < 63; i++)
        {
            size += ((components >> i) & 1) != 0 ? SizeOf(i) : 0;
        }

        return size;
    }
}
