using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Tests.Viridian;

/// <summary>A guest uses its enlightenments, from the first leaf to the last message.</summary>
public sealed class ViridianGuestTests
{
    private static readonly ViridianFeatureSet Features = ViridianFeatureSet.Of(
        ViridianFeature.Base, ViridianFeature.TimeRefCount, ViridianFeature.Synic, ViridianFeature.Stimer, ViridianFeature.HcallIpi);

    [Theory]
    [InlineData(CpuVendor.Vmx, false)]
    [InlineData(CpuVendor.Vmx, true)]
    [InlineData(CpuVendor.Svm, false)]
    public void B3_a_guest_uses_what_it_was_given_and_gets_GP_for_what_it_was_not(CpuVendor vendor, bool countInstructions) =>
        Run(vendor, new PlatformOptions { Clock = countInstructions ? ClockSource.Instructions : ClockSource.Host });

    [Fact]
    public void B3_by_turns_every_run_is_the_same()
    {
        var first = Run(CpuVendor.Vmx, new PlatformOptions { Interleaved = true });

        Assert.Equal(first, Run(CpuVendor.Vmx, new PlatformOptions { Interleaved = true }));
    }

    [Theory]
    [InlineData(new byte[] { 0xFA, 0xF4 })] // CLI, HLT
    [InlineData(new byte[] { 0x0F, 0x0B })] // UD2 without an IDT: a triple fault
    public void B3_a_guest_that_told_of_its_crash_has_crashed_however_it_ends(byte[] end)
    {
        using var machine = new Machine(new MachineOptions(static domain => new DomainPlatform(domain, new PlatformOptions())));
        using var built = DomainUnderConstruction.Create(
            new LocalToolstack(machine, ToolstackCaller.Control), new DomainConfig { MemoryBytes = 2 << 20, Viridian = ViridianFeatureSet.Defaults });

        // mov ecx, CRASH_P0; mov eax, 7; xor edx, edx; wrmsr; mov ecx, CRASH_CTL; xor eax, eax; mov edx, 0x80000000; wrmsr
        built.WritePhysical(0x10_0000, [
            0xB9, 0x00, 0x01, 0, 0x40, 0xB8, 7, 0, 0, 0, 0x31, 0xD2, 0x0F, 0x30, 0xB9, 0x05, 0x01, 0, 0x40, 0x31, 0xC0, 0xBA, 0, 0, 0, 0x80, 0x0F, 0x30, .. end]);
        built.Start(new PvhEntryState(0x10_0000, 0).ToVcpuState());
        var domain = machine.Find(built.Id.Value)!;
        built.Unpause();

        Assert.True(SpinWait.SpinUntil(() => domain.IsShutDown, TimeSpan.FromSeconds(60)));
        Assert.Equal(ShutdownReason.Crash, domain.ShutdownReason);
        Assert.Equal([7, 0, 0, 0, 0], ((DomainPlatform)domain.Platform).Viridian!.LastCrash);
    }

    /// <summary>Runs the guest to its end, and gives its memory of results and its instructions.</summary>
    private static string Run(CpuVendor vendor, PlatformOptions options)
    {
        using var machine = new Machine(new MachineOptions(domain => new DomainPlatform(domain, options)));
        using var built = DomainUnderConstruction.Create(
            new LocalToolstack(machine, ToolstackCaller.Control), new DomainConfig { MemoryBytes = 4 << 20, Vendor = vendor, Viridian = Features });
        foreach (var (address, bytes) in ViridianGuestCode.Make())
        {
            built.WritePhysical(address, bytes);
        }

        built.Start(new PvhEntryState((uint)ViridianGuestCode.Entry, 0).ToVcpuState());
        var domain = machine.Find(built.Id.Value)!;
        built.Unpause();
        var ended = SpinWait.SpinUntil(() => domain.IsShutDown, TimeSpan.FromSeconds(60));
        var results = string.Join(", ", Enumerable.Range(0, 18).Select(n => $"{Read((uint)(ViridianGuestCode.Vendor + (4 * n))):x}"));
        Assert.True(ended, $"{results} rip {domain.Vcpus[0].Runner.State.Rip:x} {domain.Vcpus[0].Flags} {domain.Vcpus[0].Failure}");
        Assert.Equal(ShutdownReason.Poweroff, domain.ShutdownReason);
        Assert.Equal(1u, Read(ViridianGuestCode.Done));
        Assert.Equal(0u, Read(ViridianGuestCode.Errors));
        Assert.Equal(ViridianGuestCode.ExpectedFaults, Read(ViridianGuestCode.Faults));
        Assert.Equal(0x7263_694Du, Read(ViridianGuestCode.Vendor));
        Assert.Equal(0x7Eu, Read(ViridianGuestCode.FeaturesEax));
        Assert.Equal(0x2_0000u, Read(ViridianGuestCode.FeaturesEdx));
        Assert.Equal(0u, Read(ViridianGuestCode.AdviceBefore));
        Assert.Equal(0x428u, Read(ViridianGuestCode.AdviceAfter));
        Assert.Equal(0u, Read(ViridianGuestCode.VpIndex));
        Assert.Equal((0u, 0u, 0u), (Read(ViridianGuestCode.IpiResult), Read(ViridianGuestCode.SlowIpiResult), Read(ViridianGuestCode.FlushResult)));
        Assert.Equal(2u, Read(ViridianGuestCode.UnknownResult));
        Assert.Equal((2u, 1u), (Read(ViridianGuestCode.Ipis), Read(ViridianGuestCode.Shots)));
        Assert.True(Read(ViridianGuestCode.TickCount) >= ViridianGuestCode.Ticks);
        return $"{results} {domain.Vcpus[0].Runner.Retired}";

        uint Read(uint address) => BitConverter.ToUInt32(machine.Memory.RestOfPage(domain.Physmap[address >> 12].MachineAddress + (address & 0xFFF)));
    }
}
