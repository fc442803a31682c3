using System.Diagnostics.CodeAnalysis;
using System.Text;
using Introspect.Hypervisor.Core.Building.Acpi;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>A file that is loaded beside the kernel; the first is Linux's initrd.</summary>
/// <param name="Content">Its bytes.</param>
/// <param name="CommandLine">Its command line, if any.</param>
internal sealed record PvhModule(ReadOnlyMemory<byte> Content, string? CommandLine = null);

/// <summary>What a PVH guest is given beside its image.</summary>
/// <param name="CommandLine">The kernel's command line, if any.</param>
/// <param name="Modules">Files that are loaded beside it.</param>
internal sealed record PvhBootOptions(string? CommandLine = null, IReadOnlyList<PvhModule>? Modules = null);

/// <summary>
/// Loads an image by the PVH boot protocol: the image with its symbols, then the modules, then the start info, each
/// from a page of its own, all in the RAM below the hole; in the hole, the ACPI tables.
/// </summary>
internal static class PvhLoader
{
    private const ulong Mebibyte = 1 << 20;

    /// <summary>Checks everything, then writes everything: a refused image leaves the guest's memory as it was.</summary>
    public static bool TryLoad(
        ElfImage image,
        PvhBootOptions options,
        IGuestLoader guest,
        [NotNullWhen(true)] out PvhEntryState? entry,
        [NotNullWhen(false)] out ElfError? error)
    {
        entry = null;
        if (!ImageLayout.TryPlan(image, out ImageLayout? layout, out error)
            || !image.TryGetPvhEntry(out uint eip, out error)
            || !TryEncode(options.CommandLine, "the command line", out byte[]? commandLine, out error))
        {
            return false;
        }

        List<StartInfoImage.Module> modules = [];
        ulong end = PageUp(layout.End);
        foreach (PvhModule module in options.Modules ?? [])
        {
            if (!TryEncode(module.CommandLine, $"the command line of module {modules.Count}", out byte[]? moduleLine, out error))
            {
                return false;
            }

            modules.Add(new StartInfoImage.Module(end, (ulong)module.Content.Length, moduleLine));
            end = PageUp(end + (ulong)module.Content.Length);
        }

        PvhAcpi acpi = PvhAcpi.Build(guest.VcpuCount, LooksForRsdpInBios(image, layout));
        ulong startInfoAddress = end;
        IReadOnlyList<MemoryMapEntry> map = GuestMemoryMap.Entries(guest.MemoryBytes, acpi);
        byte[] startInfo = StartInfoImage.Build(startInfoAddress, commandLine, modules, map, acpi.RsdpAddress);
        end = PageUp(startInfoAddress + (ulong)startInfo.Length);
        error = CheckMemory(end, guest.MemoryBytes);
        if (error is not null)
        {
            return false;
        }

        layout.Write(guest);
        for (int i = 0; i < modules.Count; i++)
        {
            guest.WritePhysical(modules[i].Address, options.Modules![i].Content.Span);
        }

        foreach (AcpiModule module in acpi.Modules)
        {
            if (module.Address >= GuestMemoryMap.HoleStart)
            {
                guest.Populate(module.Address, ((ulong)module.Content.Length + Gfn.PageSize - 1) / Gfn.PageSize);
            }

            guest.WritePhysical(module.Address, module.Content);
        }

        guest.WritePhysical(startInfoAddress, startInfo);
        guest.SetMemoryMap(map);
        entry = new PvhEntryState(eip, (uint)startInfoAddress);
        return true;
    }

    /// <summary>
    /// A Linux that does not say that it takes the RSDP from anywhere finds it only where a BIOS has it. An image that
    /// lies there itself does not look there.
    /// </summary>
    private static bool LooksForRsdpInBios(ElfImage image, ImageLayout layout) =>
        image.XenInfo is { GuestOs: "linux" } info
        && !info.Features.SupportedNames.Contains("linux_rsdp_unrestricted")
        && layout.Start >= PvhAcpi.BiosEnd;

    private static ElfError? CheckMemory(ulong end, ulong memoryBytes)
    {
        if (end > GuestMemoryMap.HoleStart)
        {
            return new ElfError(
                ElfErrorKind.OutsideMemory,
                $"the image with its modules ends at 0x{end:x}, where a domain has no RAM (from 0x{GuestMemoryMap.HoleStart:x}); give smaller modules");
        }

        return end <= memoryBytes
            ? null
            : new ElfError(
                ElfErrorKind.MemoryTooSmall,
                $"memory too small: the image needs {(end + Mebibyte - 1) / Mebibyte} MiB, the domain has {memoryBytes / Mebibyte} MiB; use --memory");
    }

    private static bool TryEncode(
        string? text,
        string what,
        out byte[]? bytes,
        [NotNullWhen(false)] out ElfError? error)
    {
        bytes = text is null ? null : Encoding.UTF8.GetBytes(text);
        int zero = text is null ? -1 : text.IndexOf('\0', StringComparison.Ordinal);
        error = zero < 0
            ? null
            : new ElfError(ElfErrorKind.BadCommandLine, $"{what} has a zero character at position {zero}; leave it out");
        return error is null;
    }

    /// <summary>Saturates instead of wrapping: an end at the top of the address space stays there, and is refused.</summary>
    private static ulong PageUp(ulong address) =>
        address > ulong.MaxValue - Gfn.PageSize ? ulong.MaxValue - Gfn.PageSize : (address + Gfn.PageSize - 1) & ~(ulong)(Gfn.PageSize - 1);
}
