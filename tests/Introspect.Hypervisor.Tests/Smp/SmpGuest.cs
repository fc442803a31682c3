using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Tests.Building;
using Introspect.Hypervisor.Tests.EndToEnd;

namespace Introspect.Hypervisor.Tests.Smp;

/// <summary>Our guest in C with several vCPUs; an act is what they do together.</summary>
internal static class SmpGuest
{
    private static readonly Lazy<byte[]> Built = new(CGuestBuilder.BuildSmp);

    /// <summary>The image, built once.</summary>
    public static byte[] Image => Built.Value;

    /// <summary>Guest-physical address of the counters, one 64-bit word a vCPU.</summary>
    public static ulong Counters => AddressOf("vcpu_counters");

    /// <summary>A guest that plays an act; it is not started.</summary>
    public static LabGuest Create(string act, uint vcpus, long rounds, bool overSocket = false, PlatformOptions? platform = null, CpuVendor vendor = CpuVendor.Vmx) =>
        new(Image, vendor, overSocket, megabytes: 8, vcpus: vcpus, commandLine: $"{act} {vcpus} {rounds}", platform: platform);

    /// <summary>Guest-physical address of the function that the act <c>patched</c> calls.</summary>
    public static ulong Code => AddressOf("code");

    private static ulong AddressOf(string symbol)
    {
        Assert.True(ElfImage.TryParse(Image, out var image, out _));
        Assert.True(SymbolTable.TryRead(image, out var symbols, out _));
        Assert.True(symbols.TryGetAddress(symbol, out var address));
        return address;
    }
}
