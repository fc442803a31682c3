using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Tests.Building;

namespace Introspect.Hypervisor.Tests.EndToEnd.Linux;

/// <summary>A kernel of a distribution, on the core and elsewhere.</summary>
public sealed class ControlWriteTests
{
    private const ulong Instructions = 10_000_000;

    // Generous: a machine that does much else, and a kernel that waits for its clock.
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    [ReferenceKernelFact]
    public void Ten_million_instructions_write_the_control_registers_as_another_machine_does()
    {
        foreach ((string kernel, ControlWriteReference reference) in ControlWriteReference.Find())
        {
            List<ControlWrite> writes = [];
            List<ulong> retired = [];
            Watch(kernel, reference, writes, retired);

            int common = Math.Min(writes.Count, reference.Writes.Count);
            for (int i = 0; i < common; i++)
            {
                Assert.True(reference.Writes[i] == writes[i], $"{kernel}, write {i}: {writes[i]} after {retired[i]} instructions, elsewhere {reference.Writes[i]}");
            }

            // A REP counts once here and each of its rounds there, so that this machine is never behind.
            Assert.True(retired[^1] >= Instructions, $"{kernel}: the last of {writes.Count} writes came after {retired[^1]} instructions");
            Assert.True(common >= reference.Instructions.Count(i => i <= Instructions), $"{kernel}: {common} writes");
        }
    }

    /// <summary>Runs it until everything in the reference was written, and at least so many instructions.</summary>
    private static void Watch(string kernel, ControlWriteReference reference, List<ControlWrite> writes, List<ulong> retired)
    {
        // What the other machine's emulation has, too. Time that follows instructions makes every run the same.
        PlatformOptions platform = new()
        {
            Interleaved = true,
            Features = CpuFeatures.Implemented.Without(
                CpuFeature.Hypervisor, CpuFeature.X2Apic, CpuFeature.TscDeadline, CpuFeature.TscAdjust, CpuFeature.Itsc,
                CpuFeature.NoFpuSelectors, CpuFeature.Prefetchw),
        };
        using LabGuest guest = new(
            LinuxKernels.Unpack(kernel),
            megabytes: reference.Megabytes,
            commandLine: reference.CommandLine,
            platform: platform,
            monitoring: new MonitoringOptions { ReportUnchanged = true });
        using IMonitor monitor = guest.Domain.EnableMonitor();
        monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0));
        monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3));
        monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4));
        monitor.Enable(new MonitorEvent.Msr(Msr.Efer));
        guest.Start();
        DateTime deadline = DateTime.UtcNow + Patience;
        while (writes.Count < reference.Writes.Count || retired[^1] < Instructions)
        {
            monitor.Wait(TimeSpan.FromMilliseconds(50), CancellationToken.None);
            while (monitor.TryTake(out VmEvent request))
            {
                writes.Add(request.Reason == VmEventReason.MovToMsr
                    ? new("efer", request.MovToMsr.NewValue, request.Registers.Rip)
                    : new(Name(request.WriteCtrlreg.Index), request.WriteCtrlreg.NewValue, request.Registers.Rip));
                retired.Add(guest.Inside.FindVcpu(0)!.Runner.Retired);
                VmEvent response = request;
                monitor.Respond(in response);
                monitor.Notify();
            }

            Assert.False(guest.HasEnded, $"{kernel} ended after {writes.Count} writes");
            Assert.True(DateTime.UtcNow < deadline, $"{kernel}: {writes.Count} writes, the last {(writes.Count == 0 ? default : writes[^1])} after {retired.LastOrDefault()} instructions");
        }
    }

    private static string Name(ControlRegisterIndex register) => register switch
    {
        ControlRegisterIndex.Cr0 => "cr0",
        ControlRegisterIndex.Cr3 => "cr3",
        ControlRegisterIndex.Cr4 => "cr4",
        _ => register.ToString(),
    };
}
