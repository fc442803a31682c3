using Introspect.Hypervisor.Tests.EndToEnd;
using Introspect.XenLab.Guest;

namespace Introspect.Hypervisor.Tests.XenLab;

/// <summary>The guest of the lab does on the core what it is written to do; the lab shows that real Xen agrees.</summary>
public sealed class TraceGuestTests
{
    private const int Rounds = 3;

    public static TheoryData<CpuVendor> Vendors => [CpuVendor.Vmx, CpuVendor.Svm];

    [Theory]
    [MemberData(nameof(Vendors))]
    public void It_makes_its_rounds_and_powers_off(CpuVendor vendor)
    {
        using var guest = new LabGuest(TraceGuest.Build(new(Rounds)).Image, vendor);
        guest.Start();
        Assert.True(guest.WaitForEnd());
        Assert.Equal(DomainState.PowerOff, guest.Domain.GetInfo().State);
        Assert.Equal((ulong)Rounds, guest.ReadCounter(TraceLayout.Counter));

        // Three steps and a watchpoint; int3 in both rings; ud2; four refused writes; ring 3 gives up.
        (int Vector, int ARound)[] expected = [(1, 4), (3, 2), (6, 1), (13, 4), (TraceLayout.UserEndVector, 1)];
        for (var vector = 0; vector < TraceLayout.IdtEntries; vector++)
        {
            var times = expected.FirstOrDefault(e => e.Vector == vector).ARound * Rounds;
            Assert.Equal((vector, (ulong)times), (vector, guest.ReadCounter(TraceLayout.Exceptions + ((ulong)vector * 8))));
        }
    }

    [Theory]
    [MemberData(nameof(Vendors))]
    public void The_endless_ones_go_on(CpuVendor vendor)
    {
        foreach (var load in new[] { false, true })
        {
            using var guest = new LabGuest(TraceGuest.Build(new(Rounds: 0, load)).Image, vendor);
            guest.Start();
            Assert.True(guest.CounterGoesOn(TraceLayout.Counter));
        }
    }
}
