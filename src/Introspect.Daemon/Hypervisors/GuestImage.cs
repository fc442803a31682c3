using System.Diagnostics.CodeAnalysis;
using Introspect.Daemon.Cli;
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
internal sealed record GuestImage(string Name, ElfImage Image, PvhBootOptions Boot, ISymbolSource Symbols, DemoPlan? Demo)
{
    // Larger than any kernel; a device file or a disk image is not read to its end.
    private const long MaxFileBytes = 1L << 30;

    /// <summary>Reads what a user asked for.</summary>
    /// <exception cref="UserError">A file that is not there, or no image that can be booted.</exception>
    public static GuestImage Load(HypervisorSpec spec)
    {
        if (spec.Source == HypervisorSource.Demo)
        {
            return LoadDemo(spec.DemoForever);
        }

        var path = spec.KernelPath ?? throw new InvalidOperationException("a kernel without a path");
        var image = Parse(path, ReadFile(path, "kernel"));
        var modules = spec.Modules.Select(m => new PvhModule(ReadFile(m, "module"))).ToArray();
        return new(
            Path.GetFileName(path), image, new(spec.CommandLine.Length == 0 ? null : spec.CommandLine, modules), ReadSymbols(path, image), Demo: null);
    }

    private static GuestImage LoadDemo(bool forever)
    {
        var demo = DemoGuest.Build(new() { Forever = forever });
        var image = Parse("demo guest", demo.Image);
        var plan = new DemoPlan(new GuestPhysical(DemoLayout.WatchedPage), demo.StepAddresses[0], demo.StepAddresses[^1]);
        return new("demo", image, new(), ReadSymbols("demo guest", image), plan);
    }

    private static ElfImage Parse(string path, ReadOnlyMemory<byte> bytes)
    {
        if (!ElfImage.TryParse(bytes, out var image, out var error) || !image.TryGetPvhEntry(out _, out error))
        {
            throw UserError.Failure($"kernel '{path}': {error.Message}");
        }

        return image;
    }

    private static SymbolNames ReadSymbols(string path, ElfImage image) =>
        SymbolTable.TryRead(image, out var table, out var error) ? new SymbolNames(table) : throw UserError.Failure($"kernel '{path}': {error.Message}");

    private static byte[] ReadFile(string path, string what)
    {
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
            if (!file.CanSeek || file.Length > MaxFileBytes)
            {
                throw UserError.Failure($"{what} '{path}': this is no regular file of at most {MaxFileBytes >> 20} MiB; name an image");
            }

            var bytes = new byte[file.Length];
            file.ReadExactly(bytes);
            return bytes;
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw UserError.Failure($"{what} '{path}': there is no such file; check the path", e);
        }
        catch (UnauthorizedAccessException e)
        {
            throw UserError.Failure($"{what} '{path}': {(Directory.Exists(path) ? "this is a directory; name a file" : "it may not be read; check its permissions")}", e);
        }
        catch (IOException e)
        {
            throw UserError.Failure($"{what} '{path}': it cannot be read ({e.Message})", e);
        }
    }

    // The formatter's view of an image's symbols.
    private sealed class SymbolNames(SymbolTable table) : ISymbolSource
    {
        public bool TryFind(ulong address, [NotNullWhen(true)] out string? name, out ulong offset) => table.TryFind(address, out name, out offset);
    }
}
