using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Hypervisor.Core.Lab;

/// <summary>Kernels that need no file.</summary>
internal static class LabKernels
{
    /// <summary>The demo guest, which powers itself off.</summary>
    public const string Demo = "builtin:demo";

    /// <summary>The demo guest, which goes on until somebody ends it.</summary>
    public const string DemoForever = "builtin:demo-forever";

    /// <summary>The name is one of them.</summary>
    public static bool IsBuiltIn(string name) => name is Demo or DemoForever;

    /// <summary>The image of one of them, or null.</summary>
    public static byte[]? Find(string? name) => name switch
    {
        null or Demo => DemoGuest.Build().Image,
        DemoForever => DemoGuest.Build(new() { Forever = true }).Image,
        _ => null,
    };
}
