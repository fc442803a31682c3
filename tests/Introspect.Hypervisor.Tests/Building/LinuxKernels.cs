using Introspect.Hypervisor.Core.Building;

namespace Introspect.Hypervisor.Tests.Building;

/// <summary>The kernels (<c>vmlinuz*</c>) in the folder that INTROSPECT_LINUX names.</summary>
internal static class LinuxKernels
{
    public static IReadOnlyList<string> Files { get; } =
        Environment.GetEnvironmentVariable("INTROSPECT_LINUX") is { Length: > 0 } folder ? Directory.GetFiles(folder, "vmlinuz*") : [];

    public static IEnumerable<(string Kernel, byte[] Image)> Unpacked() => Files.Select(f => (f, Unpack(f)));

    public static byte[] Unpack(string kernel)
    {
        Assert.True(BzImage.TryFindPayload(File.ReadAllBytes(kernel), out ReadOnlyMemory<byte> payload, out ElfError? error), error?.Message);
        Assert.True(KernelPayload.TryUnpack(payload, out ReadOnlyMemory<byte> image, out error), error?.Message);
        return image.ToArray();
    }
}

/// <summary>Needs the folder of kernels that INTROSPECT_LINUX names.</summary>
internal sealed class LinuxKernelFactAttribute : FactAttribute
{
    public LinuxKernelFactAttribute() => Skip = LinuxKernels.Files.Count == 0 ? "INTROSPECT_LINUX names no folder of kernels" : null;
}

/// <summary>Needs a program, too.</summary>
internal sealed class LinuxKernelTheoryAttribute : TheoryAttribute
{
    public LinuxKernelTheoryAttribute(params string[] tools) =>
        Skip = LinuxKernels.Files.Count == 0
            ? "INTROSPECT_LINUX names no folder of kernels"
            : tools.Select(ExternalTool.SkipReason).FirstOrDefault(r => r is not null);
}
