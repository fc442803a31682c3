using System.Diagnostics.CodeAnalysis;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>Opens what a user gives as a kernel: an ELF image, or a bzImage with one packed in it.</summary>
internal static class KernelImage
{
    public static bool TryParse(
        ReadOnlyMemory<byte> bytes,
        [NotNullWhen(true)] out ElfImage? image,
        [NotNullWhen(false)] out ElfError? error)
    {
        image = null;
        return !BzImage.Is(bytes.Span)
            ? ElfImage.TryParse(bytes, out image, out error)
            : BzImage.TryFindPayload(bytes, out ReadOnlyMemory<byte> payload, out error)
                && KernelPayload.TryUnpack(payload, out ReadOnlyMemory<byte> kernel, out error)
                && ElfImage.TryParse(kernel, out image, out error);
    }
}
