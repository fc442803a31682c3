using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building.Demo;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.Saving;
using Introspect.Hypervisor.Core.State;
using Introspect.Hypervisor.Tests.Building;
using Introspect.Hypervisor.Tests.Smp;

namespace Introspect.Hypervisor.Tests.Saving;

/// <summary>What can be saved and what cannot, and what a saved domain has of time, CPUID and other rooms' state.</summary>
public sealed class SavePolicyTests
{
    [Fact]
    public void A_monitored_domain_is_not_saved_until_its_monitor_has_gone()
    {
        using var lab = Demo();
        using (var domain = lab.Hypervisor.Open(lab.Domain.Id))
        {
            using (domain.EnableMonitor())
            {
                Assert.Equal(Errno.EBUSY, Refused(lab).Error);
            }

            lab.Save();
        }

        Assert.Equal(1, lab.Domain.PauseCount);
    }

    [Fact]
    public void A_domain_with_forks_is_not_saved_and_a_fork_is_saved_with_what_it_shares()
    {
        using var lab = Demo();
        lab.RunTurns(3);
        using var parent = lab.Hypervisor.Open(lab.Domain.Id);
        using var fork = parent.Fork(new() { Name = "fork" });
        Assert.Equal(Errno.EBUSY, Refused(lab).Error);

        using var stream = new MemoryStream();
        DomainSaver.Save(lab.Machine.Find(fork.Id.Value)!, stream);
        fork.Destroy();
        using var other = new SavingLab().Restore(stream.ToArray());
        other.RunToEnd();
        lab.RunToEnd();
        Assert.Equal(lab.Console(), other.Console());
    }

    [Fact]
    public void A_domain_that_ended_is_not_saved()
    {
        using var lab = Demo();
        lab.RunToEnd();
        Assert.Equal(Errno.EINVAL, Refused(lab).Error);
    }

    [Fact]
    public void A_domain_that_must_not_be_saved_is_told_why()
    {
        using var lab = new SavingLab(refusesSaving: static _ => "it manages the machine").Build(DemoGuest.Build().Image);
        var refused = Refused(lab);
        Assert.Equal(Errno.EPERM, refused.Error);
        Assert.Contains("it manages the machine", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Time_stands_still_while_saved_and_the_date_does_not()
    {
        const ulong Hour = 3_600_000_000_000;
        var world = new SetWorld { Monotonic = 1000, Date = 5 * Hour };
        using var lab = new SavingLab(new() { World = world }).Build(DemoGuest.Build().Image);
        world.Monotonic += 7000;
        var saved = lab.Save();

        var later = new SetWorld { Monotonic = Hour, Date = 9 * Hour };
        using var other = new SavingLab(new() { World = later }).Restore(saved);
        Assert.Equal(7000UL, other.Platform.Clock.Nanoseconds);
        Assert.Equal(lab.Domain.Vcpus[0].Runner.Tsc, other.Domain.Vcpus[0].Runner.Tsc);
        Assert.Equal((9 * Hour) - 7000, other.Platform.Clock.WallClockBase);
        later.Monotonic += 500;
        Assert.Equal(7500UL, other.Platform.Clock.Nanoseconds);
    }

    [Fact]
    public void A_guest_keeps_the_features_it_had_whatever_the_default_is()
    {
        using var poor = new SavingLab(Featured(CpuFeatures.Implemented.Without(CpuFeature.Avx2, CpuFeature.Smap))).Build(DemoGuest.Build().Image);
        using var rich = new SavingLab().Build(DemoGuest.Build().Image);
        using var restoredPoor = new SavingLab().Restore(poor.Save());
        Assert.Equal(poor.Platform.Policy.Features, restoredPoor.Platform.Policy.Features);
        Assert.NotEqual(rich.Platform.Policy.Features, restoredPoor.Platform.Policy.Features);
        using var restoredRich = new SavingLab(Featured(CpuFeatures.Implemented.Without(CpuFeature.Avx2))).Restore(rich.Save());
        Assert.Equal(rich.Platform.Policy.Features, restoredRich.Platform.Policy.Features);
    }

    [Fact]
    public void What_another_room_registers_is_saved_and_what_lacks_is_its_own_to_miss()
    {
        using var with = Demo();
        with.Domain.CoreSections.Add(new Counter { Value = 42 });
        using var without = Demo();

        var taken = new Counter();
        using var lab = new SavingLab(SavingLab.Repeatable(), onPlatform: d => d.CoreSections.Add(taken));
        lab.Restore(with.Save());
        Assert.Equal(42UL, taken.Value);

        using var none = new SavingLab();
        var refused = Assert.Throws<HypervisorException>(() => none.Restore(with.Save()));
        Assert.Contains("no section 0x9001", refused.Message, StringComparison.Ordinal);

        using var wants = new SavingLab(SavingLab.Repeatable(), onPlatform: static d => d.CoreSections.Add(new Counter()));
        Assert.Contains("no counter", Assert.Throws<HypervisorException>(() => wants.Restore(without.Save())).Message, StringComparison.Ordinal);
        using var does = new SavingLab(SavingLab.Repeatable(), onPlatform: static d => d.CoreSections.Add(new Counter { IsRequired = false }));
        does.Restore(without.Save());

        using var newer = new SavingLab(SavingLab.Repeatable(), onPlatform: static d => d.CoreSections.Add(new Counter { Version = 2 }));
        Assert.Contains("version 1 of counter", Assert.Throws<HypervisorException>(() => newer.Restore(with.Save())).Message, StringComparison.Ordinal);
    }

    [FactWithTool(CGuestBuilder.Compiler)]
    public void Under_a_monitor_the_restored_one_tells_what_the_saved_one_would_have_told()
    {
        using var first = new SavingLab().Build(SmpGuest.Image, "requests 3 40", vcpus: 3);
        first.RunTurns(3);
        var saved = first.Save();
        var expected = Events(first);
        using var second = new SavingLab().Restore(saved);
        var actual = Events(second);
        Assert.NotEmpty(expected);
        Assert.Equal(expected.Count, actual.Count);
        for (var n = 0; n < expected.Count; n++)
        {
            Assert.True(expected[n].AsSpan().SequenceEqual(actual[n]), $"event {n} differs");
        }

        Assert.Equal(first.Outcome(), second.Outcome());
    }

    private static SavingLab Demo() => new SavingLab().Build(DemoGuest.Build().Image);

    private static PlatformOptions Featured(CpuFeatureSet features) => SavingLab.Repeatable() with { Features = features };

    private static HypervisorException Refused(SavingLab lab)
    {
        var before = lab.Domain.PauseCount;
        var refused = Assert.Throws<HypervisorException>(() => lab.Save());
        Assert.Equal(before, lab.Domain.PauseCount);
        return refused;
    }

    private static List<byte[]> Events(SavingLab lab)
    {
        var events = new List<byte[]>();
        using var domain = lab.Hypervisor.Open(lab.Domain.Id);
        using (var monitor = domain.EnableMonitor())
        {
            monitor.Enable(new MonitorEvent.GuestRequest(Sync: true));
            monitor.Enable(new MonitorEvent.Cpuid());
            domain.Unpause();
            while (!lab.Domain.IsShutDown || monitor.UnconsumedRequests > 0)
            {
                monitor.Wait(TimeSpan.FromMilliseconds(10), CancellationToken.None);
                while (monitor.TryTake(out var request))
                {
                    events.Add(MemoryMarshal.AsBytes(new ReadOnlySpan<VmEvent>(in request)).ToArray());
                    if (request.Reason == VmEventReason.Cpuid)
                    {
                        request.Flags |= VmEventFlags.SetRegisters;
                        request.Registers.Rip += request.Cpuid.InsnLength;
                    }

                    monitor.Respond(in request);
                    monitor.Notify();
                }
            }
        }

        lab.Domain.Pause();
        return events;
    }

    private sealed class SetWorld : IOutsideWorld
    {
        public ulong Monotonic { get; set; }

        public ulong Date { get; init; }

        public ulong MonotonicNanoseconds => Monotonic;

        public ulong UnixNanoseconds => Date;

        public void FillRandom(Span<byte> destination) => destination.Clear();
    }

    private sealed class Counter : IHvmContextSection
    {
        public ulong Value { get; set; }

        public ushort TypeCode => 0x9001;

        public string Name => "counter";

        public ushort Version { get; init; } = 1;

        public bool IsRequired { get; init; } = true;

        public bool IsPerVcpu => false;

        public int Length => sizeof(ulong);

        public bool TrySave(uint instance, Span<byte> record)
        {
            BitConverter.TryWriteBytes(record, Value);
            return true;
        }

        public Errno Load(uint instance, ReadOnlySpan<byte> record)
        {
            Value = BitConverter.ToUInt64(record);
            return Errno.None;
        }
    }
}
