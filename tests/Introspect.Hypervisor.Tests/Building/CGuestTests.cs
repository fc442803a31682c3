using Introspect.Hypervisor.Core.Building;

namespace Introspect.Hypervisor.Tests.Building;

public sealed class CGuestTests
{
    public static TheoryData<CGuestKind, int> Builds { get; } = new()
    {
        { CGuestKind.LongMode, 0 },
        { CGuestKind.LongMode, 2 },
        { CGuestKind.LongModeInElf32, 0 },
        { CGuestKind.LongModeInElf32, 2 },
        { CGuestKind.ProtectedMode, 0 },
        { CGuestKind.ProtectedMode, 2 },
    };

    [TheoryWithTools(CGuestBuilder.Compiler)]
    [MemberData(nameof(Builds))]
    public void It_is_an_image_that_the_loader_takes(CGuestKind kind, int optimisation)
    {
        Assert.True(ElfImage.TryParse(CGuestBuilder.Build(kind, optimisation), out ElfImage? image, out ElfError? error), error?.Message);
        Assert.Equal(kind == CGuestKind.LongMode, image.Is64);
        Assert.Equal(kind == CGuestKind.ProtectedMode ? ElfFormat.Machine386 : ElfFormat.MachineX86_64, image.Machine);
        bool loaded = PvhLoader.TryLoad(image, new PvhBootOptions(), new FakeGuest(4 << 20), out PvhEntryState? entry, out error);
        Assert.True(loaded, error?.Message);
        Assert.True(SymbolTable.TryRead(image, out SymbolTable? symbols, out _));
        Assert.Equal("pvh_start", symbols.Describe(entry!.Eip));
        Assert.True(symbols.TryGetAddress("quicksort", out ulong quicksort));
        Assert.Equal("quicksort+0x1", symbols.Describe(quicksort + 1));
    }

    [TheoryWithTools(CGuestBuilder.Compiler, Qemu.Tool)]
    [MemberData(nameof(Builds))]
    public void It_passes_its_own_checks_on_an_independent_cpu(CGuestKind kind, int optimisation)
    {
        (int exitCode, string console) = Qemu.Boot(CGuestBuilder.Build(kind, optimisation));
        Assert.Equal(CGuestBuilder.ExpectedConsole(kind), console);
        Assert.Equal(Qemu.Done, exitCode);
    }
}
