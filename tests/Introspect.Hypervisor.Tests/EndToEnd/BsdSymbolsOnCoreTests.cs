using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Tests.Building;

namespace Introspect.Hypervisor.Tests.EndToEnd;

/// <summary>A guest that asks for its symbols, on the core: they are in its memory behind it, and it runs as ever.</summary>
public sealed class BsdSymbolsOnCoreTests
{
    [TheoryWithTools("gcc", "objcopy")]
    [InlineData(nameof(CGuestKind.LongMode))]
    [InlineData(nameof(CGuestKind.LongModeInElf32))]
    [InlineData(nameof(CGuestKind.ProtectedMode))]
    public void A_guest_that_asks_has_its_symbols_behind_it(string kind)
    {
        var which = Enum.Parse<CGuestKind>(kind);
        var bytes = CGuestBuilder.Build(which, 2, wantsSymbols: true);
        Assert.True(ElfImage.TryParse(bytes, out var image, out var error), error?.Message);
        Assert.True(SymbolTable.TryRead(image, out var expected, out error), error?.Message);
        using var guest = new LabGuest(bytes);

        var align = image.Is64 ? 8UL : 4UL;
        var start = (image.LoadableSegments.Max(s => s.PhysicalEnd) + align - 1) & ~(align - 1);
        var found = Read(guest, start + sizeof(uint), BitConverter.ToInt32(Read(guest, start, sizeof(uint))));

        Assert.True(ElfImage.TryParse(found, out var copy, out error), error?.Message);
        Assert.Equal((image.Is64, image.Machine, 3), (copy.Is64, copy.Machine, copy.Sections.Count));
        Assert.True(SymbolTable.TryRead(copy, out var table, out error), error?.Message);
        // Without segments nothing has an end, so names are asked for their addresses.
        Assert.Equal(expected.Symbols, table.Symbols);
        Assert.True(table.TryGetAddress("quicksort", out _));

        guest.Start();
        Assert.True(guest.WaitForEnd(), $"it did not end; console:\n{guest.Console()}");
        Assert.Equal(CGuestBuilder.ExpectedConsole(which), guest.Console());
    }

    private static byte[] Read(LabGuest guest, ulong address, int length)
    {
        var bytes = new byte[length];
        guest.Domain.Memory.ReadPhysical(new GuestPhysical(address), bytes);
        return bytes;
    }
}
