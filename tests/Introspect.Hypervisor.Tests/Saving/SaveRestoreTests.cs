using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building.Demo;
using Introspect.Hypervisor.Tests.Building;
using Introspect.Hypervisor.Tests.Smp;

namespace Introspect.Hypervisor.Tests.Saving;

/// <summary>A guest that is saved in the middle of its run and restored elsewhere comes to the same end, to the last bit.</summary>
public sealed class SaveRestoreTests
{
    [Theory]
    [InlineData(CpuVendor.Vmx)]
    [InlineData(CpuVendor.Svm)]
    public void The_demo_guest_goes_on_as_if_nothing_had_been(CpuVendor vendor) =>
        AssertSameEnd(lab => lab.Build(DemoGuest.Build().Image, vendor: vendor));

    [TheoryWithTools(CGuestBuilder.Compiler)]
    [InlineData("race", 3, 640)]
    [InlineData("spinlock", 4, 200)]
    [InlineData("ticket", 4, 50)]
    [InlineData("shootdown", 4, 10)]
    [InlineData("requests", 3, 40)]
    [InlineData("marks", 3, 10)]
    public void Several_vcpus_go_on_in_the_middle_of_their_turns(string act, uint vcpus, long rounds) =>
        AssertSameEnd(lab => lab.Build(SmpGuest.Image, $"{act} {vcpus} {rounds}", vcpus));

    [TheoryWithTools(CGuestBuilder.Compiler)]
    [InlineData("spinlock", 4, 20000)]
    [InlineData("shootdown", 4, 200)]
    public void Vcpus_with_threads_of_their_own_go_on_too(string act, uint vcpus, long rounds)
    {
        using var first = new SavingLab(new()).Build(SmpGuest.Image, $"{act} {vcpus} {rounds}", vcpus);
        first.RunTo(1);
        Assert.False(first.Domain.IsShutDown, "it ended before it could be saved");
        var saved = first.Save();
        using var second = new SavingLab(new()).Restore(saved);
        second.RunToEnd();
        Assert.Equal($"{act}: ok\n", second.Console());

        // And so does the one that was only looked at.
        first.RunToEnd();
        Assert.Equal($"{act}: ok\n", first.Console());
    }

    [FactWithTool(CGuestBuilder.Compiler)]
    public void What_is_restored_and_saved_again_is_the_same_to_the_byte()
    {
        using var first = new SavingLab().Build(SmpGuest.Image, "race 3 640", vcpus: 3);
        first.RunTurns(9);
        var saved = first.Save();
        Assert.Equal(saved, first.Save());

        using var second = new SavingLab().Restore(saved);
        Assert.Equal(saved, second.Save());
    }

    [Fact]
    public void What_a_toolstack_keeps_with_it_comes_back()
    {
        using var first = new SavingLab().Build(DemoGuest.Build().Image);
        var saved = first.Save(new("one", new byte[] { 1, 2, 3 }), new("two", ReadOnlyMemory<byte>.Empty));
        using var second = new SavingLab();
        var restored = Core.Saving.DomainRestorer.Restore(second.Machine, new MemoryStream(saved), "saved");
        Assert.Equal(["one", "two"], restored.Extras.Select(static e => e.Name));
        Assert.Equal([1, 2, 3], restored.Extras[0].Value.ToArray());
        Assert.Equal(first.Domain.Handle, restored.Domain.Handle);
        Assert.Equal("guest", restored.Domain.Name);
        Assert.Equal(1, restored.Domain.ControllerPauseCount);
        Assert.Equal(1, restored.Domain.PauseCount);
    }

    [Fact]
    public void A_memory_map_of_as_many_entries_as_there_may_be_comes_back()
    {
        using var first = new SavingLab().Build(DemoGuest.Build().Image);
        var map = Enumerable.Range(0, (int)E820Entry.MaxEntries).Select(static n => new E820Entry { Addr = (ulong)n << 20, Size = 1 << 20, Type = MemmapType.Ram }).ToArray();
        first.Platform.SetMemoryMap(map);
        using var second = new SavingLab().Restore(first.Save());
        Assert.Equal(map, second.Platform.MemoryMap);
    }

    /// <summary>Runs it in one go, and again with a save and a restore between turns, in a turn, and anywhere.</summary>
    private static void AssertSameEnd(Func<SavingLab, SavingLab> build)
    {
        string expected;
        using (var whole = build(new SavingLab()))
        {
            whole.RunToEnd();
            expected = whole.Outcome();
        }

        var lab = build(new SavingLab());
        try
        {
            var hops = 0;
            foreach (var part in new Action[] { () => lab.RunTurns(5), () => lab.RunToWrite(), () => lab.RunTurns(11), () => lab.RunTo(1) })
            {
                part();
                if (lab.Domain.IsShutDown)
                {
                    break;
                }

                var saved = lab.Save();
                lab.Dispose();
                lab = new SavingLab().Restore(saved);
                hops++;
            }

            Assert.True(hops > 0, "it ended before it could be saved");
            lab.RunToEndUnlessEnded();
            Assert.Equal(expected, lab.Outcome());
        }
        finally
        {
            lab.Dispose();
        }
    }
}
