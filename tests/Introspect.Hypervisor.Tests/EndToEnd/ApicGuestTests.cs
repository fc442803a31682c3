using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Tests.EndToEnd;

/// <summary>vCPUs bring each other up, interrupt each other and take their timers' ticks.</summary>
public sealed class ApicGuestTests
{
    [Theory]
    [InlineData(false, 2, CpuVendor.Vmx, false)]
    [InlineData(false, 4, CpuVendor.Vmx, false)]
    [InlineData(false, 3, CpuVendor.Svm, false)]
    [InlineData(true, 2, CpuVendor.Vmx, false)]
    [InlineData(true, 4, CpuVendor.Vmx, false)]
    [InlineData(true, 3, CpuVendor.Svm, false)]
    [InlineData(false, 2, CpuVendor.Vmx, true)]
    public void A_guest_brings_its_vCPUs_up_and_they_interrupt_each_other(bool x2, int vcpus, CpuVendor vendor, bool countInstructions) =>
        Run(x2, vcpus, vendor, new PlatformOptions { Clock = countInstructions ? ClockSource.Instructions : ClockSource.Host });

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void By_turns_on_one_thread_every_run_is_the_same(bool x2)
    {
        var first = Run(x2, 3, CpuVendor.Vmx, new PlatformOptions { Interleaved = true });
        Assert.Equal(first, Run(x2, 3, CpuVendor.Vmx, new PlatformOptions { Interleaved = true }));
    }

    /// <summary>Runs the guest to its end, and gives its counters and the instructions of each vCPU.</summary>
    private static string Run(bool x2, int vcpus, CpuVendor vendor, PlatformOptions options)
    {
        using var machine = new Machine(new MachineOptions(domain => new DomainPlatform(domain, options)));
        var toolstack = new LocalToolstack(machine, ToolstackCaller.Control);
        using var built = DomainUnderConstruction.Create(
            toolstack, new DomainConfig { MemoryBytes = 4 << 20, Vcpus = (uint)vcpus, Vendor = vendor });
        var deadline = vendor == CpuVendor.Vmx;
        foreach (var (address, bytes) in ApicGuestCode.Make(x2, (uint)vcpus, deadline))
        {
            built.WritePhysical(address, bytes);
        }

        built.Start(new PvhEntryState((uint)ApicGuestCode.Entry, 0).ToVcpuState());
        var domain = machine.Find(built.Id.Value)!;
        built.Unpause();
        var ended = SpinWait.SpinUntil(() => domain.IsShutDown, TimeSpan.FromSeconds(10));
        var state = string.Join(", ", Enumerable.Range(0, 16).Select(n => $"{Read((uint)(ApicGuestCode.Online + (4 * n))):x}"))
            + " | " + string.Join(", ", domain.Vcpus.Select(static v => $"{v.Flags} rip {v.Runner.State.Rip:x} {v.Failure}"));
        Assert.True(ended, state);
        Assert.Equal(ShutdownReason.Poweroff, domain.ShutdownReason);
        Assert.Equal((uint)vcpus - 1, Read(ApicGuestCode.Online));
        Assert.Equal(((uint)vcpus - 1) * ApicGuestCode.Rounds, Read(ApicGuestCode.Replies));
        for (var n = 1; n < vcpus; n++)
        {
            Assert.Equal(ApicGuestCode.Rounds, Read(ApicGuestCode.IpisOf + (uint)(4 * n)));
        }

        Assert.True(Read(ApicGuestCode.Broadcasts) >= vcpus, state);
        Assert.Equal(0x9161u, Read(ApicGuestCode.Priorities));
        Assert.True(Read(ApicGuestCode.TimerTicks) >= ApicGuestCode.Ticks, state);
        Assert.Equal(deadline ? 1u : 0u, Read(ApicGuestCode.Deadlines));
        Assert.Equal(1u, Read(ApicGuestCode.Nmis));
        Assert.Equal(1u, Read(ApicGuestCode.Reborn));
        Assert.Equal(0u, Read(ApicGuestCode.Errors));
        return state + " | " + string.Join(", ", domain.Vcpus.Select(static v => v.Runner.Retired));

        uint Read(uint address)
        {
            var entry = domain.Physmap[address >> 12];
            return BitConverter.ToUInt32(machine.Memory.RestOfPage(entry.MachineAddress)[(int)(address & 0xFFF)..]);
        }
    }
}
