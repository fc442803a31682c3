using System.Text;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Tests.Viridian;

/// <summary>
/// Images of the Xen Test Framework that need viridian, from the folder that INTROSPECT_XTF names. The framework's own
/// verdict on the guest's console is the yardstick.
/// </summary>
public sealed class ViridianXtfTests
{
    private static string? Folder => Environment.GetEnvironmentVariable("INTROSPECT_XTF");

    [TheoryWithXtf]
    [InlineData("test-hvm32-xsa-472-1", 1, ViridianFeature.ReferenceTsc, CpuVendor.Vmx)]
    [InlineData("test-hvm32-xsa-472-1", 1, ViridianFeature.ReferenceTsc, CpuVendor.Svm)]
    [InlineData("test-hvm32-xsa-472-2", 1, ViridianFeature.Stimer, CpuVendor.Vmx)]
    [InlineData("test-hvm32-xsa-472-2", 1, ViridianFeature.Stimer, CpuVendor.Svm)]
    [InlineData("test-hvm32-xsa-472-3", 3, ViridianFeature.ReferenceTsc, CpuVendor.Vmx)]
    [InlineData("test-hvm32-xsa-472-3", 3, ViridianFeature.ReferenceTsc, CpuVendor.Svm)]
    public void B3_an_image_that_needs_viridian_says_success(string image, int vcpus, object feature, CpuVendor vendor)
    {
        using var machine = new Machine(new MachineOptions(static d => new DomainPlatform(d, new PlatformOptions())));
        var toolstack = new LocalToolstack(machine, ToolstackCaller.Control);
        using var built = DomainUnderConstruction.Create(toolstack, new DomainConfig
        {
            MemoryBytes = 128 << 20,
            Vcpus = (uint)vcpus,
            Vendor = vendor,
            Viridian = ViridianFeatureSet.Of(ViridianFeature.Base, (ViridianFeature)feature),
        });
        Assert.True(ElfImage.TryParse(File.ReadAllBytes(Path.Combine(Folder!, image)), out var elf, out var error), error?.Message);
        Assert.True(PvhLoader.TryLoad(elf, new PvhBootOptions(null), built, out var entry, out error), error?.Message);
        built.Start(entry.ToVcpuState());
        var domain = machine.Find(built.Id.Value)!;
        built.Unpause();

        SpinWait.SpinUntil(() => domain.IsShutDown, TimeSpan.FromSeconds(60));
        var console = Console(toolstack, built.Id.Value);
        Assert.True(domain.IsShutDown, $"{console} {domain.Vcpus[0].Failure}");
        Assert.Contains("Test result: SUCCESS", console, StringComparison.Ordinal);
    }

    private static string Console(LocalToolstack toolstack, ushort domain)
    {
        var text = new StringBuilder();
        var buffer = new byte[4096];
        var position = 0UL;
        while (toolstack.ReadConsole(domain, ref position, buffer) is var count and > 0)
        {
            text.Append(Encoding.ASCII.GetString(buffer, 0, count));
        }

        return text.ToString();
    }

    /// <summary>A test that needs the images.</summary>
    private sealed class TheoryWithXtfAttribute : TheoryAttribute
    {
        public TheoryWithXtfAttribute() =>
            Skip = Directory.Exists(Folder) ? null : "INTROSPECT_XTF names no folder with images of the Xen Test Framework";
    }
}
