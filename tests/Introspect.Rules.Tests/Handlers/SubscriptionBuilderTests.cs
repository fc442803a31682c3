using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Handlers;

public class SubscriptionBuilderTests
{
    [Fact]
    public void Denying_what_cannot_be_denied_is_refused_when_subscribing()
    {
        Refused("async", builder => builder.ControlRegister(ControlRegisterIndex.Cr4, sync: false, mayDeny: true));
        Refused("XCR0", builder => builder.ControlRegister(ControlRegisterIndex.Xcr0, mayDeny: true));
    }

    [Fact]
    public void Wishes_without_a_meaning_are_refused_when_subscribing()
    {
        Refused("index 4", builder => builder.ControlRegister((ControlRegisterIndex)4));
        Refused("no bit", builder => builder.ControlRegister(ControlRegisterIndex.Cr0, 0));
        Refused("0x2000", builder => builder.Msr(0x2000));
        Refused("0x80000000", builder => builder.Msr(0x8000_0000));
        Refused("0xc0002000", builder => builder.Msr(0xc000_2000));
        Refused("read, write, execute", builder => builder.Memory(new(1), 1, MemAccessFlags.None));
        Refused("read, write, execute", builder => builder.Memory(new(1), 1, MemAccessFlags.Read | MemAccessFlags.GlaValid));
        Refused("not a range", builder => builder.Memory(new(1), 0, MemAccessFlags.Read));
        Refused("not a range", builder => builder.Memory(new(ulong.MaxValue), 2, MemAccessFlags.Read));
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(0x1fffu)]
    [InlineData(0x4000_0000u)]
    [InlineData(0x4000_1fffu)]
    [InlineData(0xc000_0000u)]
    [InlineData(0xc000_1fffu)]
    public void MSRs_in_the_hypervisors_map_are_accepted(uint number)
    {
        Assert.Equal(number, Assert.Single(Built(builder => builder.Msr(number)).Msrs).Number);
    }

    [Fact]
    public void A_control_register_write_matches_by_register_and_changed_bits()
    {
        var wishes = Built(builder => builder.ControlRegister(ControlRegisterIndex.Cr4, 1 << 20).ControlRegister(ControlRegisterIndex.Cr0, 1));

        Assert.True(Matches(wishes, Requests.ControlRegister(ControlRegisterIndex.Cr4, 1 << 20, 0)));
        Assert.False(Matches(wishes, Requests.ControlRegister(ControlRegisterIndex.Cr4, 1 << 21, 0)));
        Assert.True(Matches(wishes, Requests.ControlRegister(ControlRegisterIndex.Cr0, 0, 1)));
        Assert.False(Matches(wishes, Requests.ControlRegister(ControlRegisterIndex.Cr3, 0, 1)));
        Assert.False(Matches(wishes, Requests.ControlRegister((ControlRegisterIndex)17, 0, 1)));
    }

    [Fact]
    public void An_MSR_write_matches_by_number_and_change()
    {
        var wishes = Built(builder => builder.Msr(0xc0000082, onChangeOnly: true).Msr(0x174));

        Assert.True(Matches(wishes, Requests.Msr(0xc0000082, 1, 2)));
        Assert.False(Matches(wishes, Requests.Msr(0xc0000082, 1, 1)));
        Assert.True(Matches(wishes, Requests.Msr(0x174, 1, 1)));
        Assert.False(Matches(wishes, Requests.Msr(0x175, 1, 2)));
    }

    [Fact]
    public void A_memory_access_matches_by_page_kind_and_cause()
    {
        var wishes = Built(builder => builder.Memory(new(0x10), 2, MemAccessFlags.Write, pageTableWalks: false));

        Assert.True(Matches(wishes, Requests.MemAccess(0x11, MemAccessFlags.Write | MemAccessFlags.Read)));
        Assert.False(Matches(wishes, Requests.MemAccess(0x11, MemAccessFlags.Read)));
        Assert.False(Matches(wishes, Requests.MemAccess(0x12, MemAccessFlags.Write)));
        Assert.False(Matches(wishes, Requests.MemAccess(0xf, MemAccessFlags.Write)));
        Assert.False(Matches(wishes, Requests.MemAccess(0x10, MemAccessFlags.Write | MemAccessFlags.FaultInGpt)));
    }

    [Fact]
    public void Other_events_match_by_reason()
    {
        var wishes = Built(builder => builder.Cpuid().VmExit());

        Assert.True(Matches(wishes, Requests.Cpuid()));
        Assert.True(Matches(wishes, Requests.Make(VmEventReason.VmExit)));
        Assert.False(Matches(wishes, Requests.Breakpoint()));
        Assert.False(Matches(wishes, Requests.Make((VmEventReason)(32 + (int)VmEventReason.Cpuid))));
    }

    private static HandlerSubscription Built(Action<SubscriptionBuilder> subscribe)
    {
        var builder = new SubscriptionBuilder("test");
        subscribe(builder);
        return builder.Build();
    }

    private static bool Matches(HandlerSubscription wishes, VmEvent request) => wishes.Matches(in request);

    private static void Refused(string text, Action<SubscriptionBuilder> subscribe)
    {
        var refused = Assert.Throws<ArgumentException>(() => Built(subscribe));
        Assert.StartsWith("handler test:", refused.Message, StringComparison.Ordinal);
        Assert.Contains(text, refused.Message, StringComparison.Ordinal);
    }
}
