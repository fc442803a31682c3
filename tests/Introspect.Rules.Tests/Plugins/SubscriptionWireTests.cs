using System.Text.Json;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Plugins.Isolation;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Plugins;

public sealed class SubscriptionWireTests
{
    [Fact]
    public void Everything_that_a_handler_can_ask_for_arrives()
    {
        var sent = SubscriptionWire.Of("all", new TestHandler("all", Everything, Verdict.Pass));
        var received = Travel(sent);
        Assert.True(received.IsSame(sent));
        Assert.True(SubscriptionWire.Of("all", new TestHandler("all", received.ReplayTo, Verdict.Pass)).IsSame(sent));

        // One builder method that is forgotten above or there shows here.
        Assert.Equal(2, sent.ControlRegisters.Count);
        Assert.Single(sent.Msrs);
        Assert.Equal(10, sent.Simple.Count);
        Assert.Single(sent.Ranges);
        Assert.Single(sent.Breakpoints);
        Assert.Equal(2, sent.AddressSpaces.Count);
        Assert.True(sent is { InView: true, UserspaceRequests: true, EmulateEachRep: true, ObservesDecided: true });
    }

    [Fact]
    public void What_no_handler_could_ask_for_is_refused()
    {
        AssertRefused(new() { Simple = [new((VmEventReason)99, true, false)] });
        AssertRefused(new() { ControlRegisters = [new((ControlRegisterIndex)9, 1, true, false, false)] });
        AssertRefused(new() { Msrs = [new(0xffff_ffff, false, false, false)] });
        AssertRefused(new() { Ranges = [new(ulong.MaxValue, 2, MemAccessFlags.Write, true)] });
    }

    private static void AssertRefused(SubscriptionWire wire) =>
        Assert.Throws<ArgumentException>(() => SubscriptionWire.Of("x", new TestHandler("x", Travel(wire).ReplayTo, Verdict.Pass)));

    private static SubscriptionWire Travel(SubscriptionWire wire)
    {
        var message = new ControlMessage { Kind = ControlKind.Done, Subscription = wire };
        return JsonSerializer.Deserialize(JsonSerializer.SerializeToUtf8Bytes(message, ControlJson.Default.ControlMessage), ControlJson.Default.ControlMessage)!.Subscription!;
    }

    private static void Everything(SubscriptionBuilder subscription) => subscription
        .ControlRegister(ControlRegisterIndex.Cr0, 0x10000, mayDeny: true)
        .ControlRegister(ControlRegisterIndex.Cr3, sync: false, optional: true, onChangeOnly: true)
        .Msr(0xc0000082, onChangeOnly: true, mayDeny: true, optional: true)
        .Cpuid()
        .SoftwareBreakpoint(optional: true)
        .Interrupt()
        .DebugException(sync: false)
        .GuestRequest(sync: false, allowUserspace: true)
        .Singlestep()
        .DescriptorAccess()
        .IoInstruction(sync: false, optional: true)
        .VmExit()
        .EmulUnimplemented()
        .Memory(new(0x10), 3, MemAccessFlags.Write | MemAccessFlags.Execute, pageTableWalks: false)
        .Breakpoint(new GuestPhysical(0x1234))
        .InAddressSpaces(0x1000, 0x2000)
        .InView()
        .EmulateEachRep()
        .ObserveDecided();
}
