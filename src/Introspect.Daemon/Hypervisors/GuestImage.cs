using Introspect.Daemon.Cli;
using Introspect.Daemon.Symbols;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Daemon.Hypervisors;

/// <summary>What is loaded into a guest that is built: an image that was read and understood, and what goes with it.</summary>
/// <param name="Name">The guest's name.</param>
/// <param name="Image">The image.</param>
/// <param name="Boot">Command line and modules.</param>
/// <param name="Symbols">The image's symbols.</param>
/// <param name="Demo">What to watch, where it is the demo guest.</param>
/// <param name="Warnings">What is wrong with it and does not keep it from booting, in one line each.</param>
internal sealed record GuestImage(string Name, ElfImage Image, PvhBootOptions Boot, ISymbolSource Symbols, DemoPlan? Demo, IReadOnlyList<string> Warnings)
{
    /// <summary>Where an address of the image is loaded: what maps it once the guest has page tables.</summary>
    public GuestPhysical? LoadAddress(ulong address)
    {
        foreach (var segment in Image.LoadableSegments)
        {
            if (address - segment.VirtualAddress < segment.MemorySize)
            {
                return new(segment.PhysicalAddress + (address - segment.VirtualAddress));
            }
        }

        return null;
    }

    /// <summary>Reads what a user asked for.</summary>
    /// <exception cref="UserError">A file that is not there, or no image that can be booted.</exception>
    public static GuestImage Load(HypervisorSpec spec)
    {
        if (spec.Source == HypervisorSource.Demo)
        {
            return LoadDemo(spec.DemoForever);
        }

        var path = spec.KernelPath ?? throw new InvalidOperationException("a kernel without a path");
        var image = Parse(path, InputFile.Read(path, "kernel"));
        var modules = spec.Modules.Select(m => new PvhModule(InputFile.Read(m, "module"))).ToArray();
        var symbols = ReadSymbols(path, image, out var warnings);
        return new(Path.GetFileName(path), image, new(spec.CommandLine.Length == 0 ? null : spec.CommandLine, modules), symbols, Demo: null, warnings);
    }

    private static GuestImage LoadDemo(bool forever)
    {
        var demo = DemoGuest.Build(new() { Forever = forever });
        var image = Parse("demo guest", demo.Image);
        var plan = new DemoPlan(new GuestPhysical(DemoLayout.WatchedPage), demo.StepAddresses[0], demo.StepAddresses[^1]);
        return new("demo", image, new(), ReadSymbols("demo guest", image, out var warnings), plan, warnings);
    }

    private static ElfImage Parse(string path, ReadOnlyMemory<byte> bytes)
    {
        if (!KernelImage.TryParse(bytes, out var image, out var error) || !image.TryGetPvhEntry(out _, out error))
        {
            throw UserError.Failure($"kernel '{path}': {error.Message}");
        }

        return image;
    }

    private static ElfSymbols ReadSymbols(string path, ElfImage image, out IReadOnlyList<string> warnings)
    {
        string[] names = image.NameWarning is { } name ? [$"kernel '{path}' boots without the name of a section: {name.Message}"] : [];
        if (SymbolTable.TryRead(image, out var table, out var error))
        {
            warnings = names;
            return new ElfSymbols(table);
        }

        warnings = [$"kernel '{path}' boots without symbols: {error.Message}", .. names];
        return new ElfSymbols(SymbolTable.Empty);
    }
}
