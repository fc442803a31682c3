namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>Parts of a segment selector: RPL 0–1, table indicator 2, index 3–15.</summary>
internal static class Selectors
{
    /// <summary>Index 0 of the GDT, whatever the RPL.</summary>
    public static bool IsNull(ushort selector) => (selector & 0xFFFC) == 0;

    /// <summary>The selector names a descriptor of the LDT.</summary>
    public static bool IsLocal(ushort selector) => (selector & 4) != 0;

    public static int Rpl(ushort selector) => selector & 3;

    public static ushort WithRpl(ushort selector, int rpl) => (ushort)((selector & 0xFFFC) | rpl);

    /// <summary>The selector as an exception's error code; EXT is added by the delivery of events.</summary>
    public static uint ErrorCode(ushort selector) => selector & 0xFFFCu;
}
