namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>Descriptors in the byte layout of the manuals, written independently of the code under test.</summary>
internal static class DescriptorBuilder
{
    /// <summary>A code segment of 16, 32 or 64 bits.</summary>
    public static ulong Code(int dpl, int bits = 32, bool conforming = false, bool readable = true, bool present = true, uint limit = 0xFFFFF, bool pages = true, uint address = 0, bool accessed = false)
    {
        var type = 8 | (conforming ? 4 : 0) | (readable ? 2 : 0) | (accessed ? 1 : 0);
        var size = bits switch
        {
            64 => 2,
            32 => 4,
            _ => 0,
        };
        return Segment(type, dpl, present, address, limit, size | (pages ? 8 : 0));
    }

    /// <summary>A data segment.</summary>
    public static ulong Data(int dpl, bool writable = true, bool big = true, bool present = true, uint limit = 0xFFFFF, bool pages = true, bool expandDown = false, uint address = 0) =>
        Segment((writable ? 2 : 0) | (expandDown ? 4 : 0), dpl, present, address, limit, (big ? 4 : 0) | (pages ? 8 : 0));

    /// <summary>A system segment: LDT or TSS.</summary>
    public static ulong SystemSegment(int type, int dpl, uint address, uint limit, bool present = true) =>
        Segment(type, dpl, present, address, limit, 0) & ~(1UL << 44);

    /// <summary>The first 8 bytes of a gate.</summary>
    public static ulong Gate(int type, int dpl, ushort selector, uint offset, int parameters = 0, bool present = true) =>
        (offset & 0xFFFF) | ((ulong)selector << 16) | ((ulong)parameters << 32) | ((ulong)type << 40)
        | ((ulong)dpl << 45) | (present ? 1UL << 47 : 0) | ((ulong)(offset >> 16) << 48);

    private static ulong Segment(int type, int dpl, bool present, uint address, uint limit, int flags) =>
        (limit & 0xFFFF) | ((ulong)(address & 0xFFFFFF) << 16) | ((ulong)type << 40) | (1UL << 44)
        | ((ulong)dpl << 45) | (present ? 1UL << 47 : 0) | ((ulong)(limit >> 16) << 48)
        | ((ulong)flags << 52) | ((ulong)(address >> 24) << 56);
}
