using Introspect.Hypervisor.Tests.Building;

namespace Introspect.Hypervisor.Tests.EndToEnd;

/// <summary>Our guest in C, as gcc builds it, checks itself on the core.</summary>
public sealed class CGuestOnCoreTests
{
    public static TheoryData<string, int, CpuVendor> Builds
    {
        get
        {
            var data = new TheoryData<string, int, CpuVendor>();
            foreach (var kind in Enum.GetNames<CGuestKind>())
            {
                data.Add(kind, 0, CpuVendor.Vmx);
                data.Add(kind, 2, CpuVendor.Svm);
            }

            return data;
        }
    }

    [TheoryWithTools("gcc")]
    [MemberData(nameof(Builds))]
    public void The_guest_in_C_passes_its_own_checks(string kind, int optimisation, CpuVendor vendor)
    {
        var which = Enum.Parse<CGuestKind>(kind);
        using var guest = new LabGuest(CGuestBuilder.Build(which, optimisation), vendor);
        guest.Start();

        Assert.True(guest.WaitForEnd(), $"it did not end; console:\n{guest.Console()}");
        Assert.Equal(CGuestBuilder.ExpectedConsole(which), guest.Console());
        Assert.Equal(DomainState.PowerOff, guest.Domain.GetInfo().State);
    }
}
