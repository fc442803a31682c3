using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Hypercalls.Guest;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Tests.Platform;

namespace Introspect.Hypervisor.Tests.GuestHypercalls;

public sealed class EventChannelOpTests
{
    private readonly FakeGuest _guest = new();

    private long Call(uint command, ulong argument = FakeGuest.Base) =>
        _guest.Call(HypercallNumber.EventChannelOp, command, argument);

    [Fact]
    public void A_guest_learns_its_own_number_from_an_unbound_port()
    {
        _guest.Put(new EvtchnAllocUnbound { Dom = SpecialDomain.Self, RemoteDom = SpecialDomain.Self });
        Assert.Equal(0, Call(EventChannelOp.AllocUnbound));
        var port = _guest.Get<EvtchnAllocUnbound>().Port;
        _guest.Put(new EvtchnStatus { Dom = SpecialDomain.Self, Port = port });
        Assert.Equal(0, Call(EventChannelOp.Status));
        Assert.Equal((1u, (ushort)5), (_guest.Get<EvtchnStatus>().Status, _guest.Get<EvtchnStatus>().UnboundDom));
        _guest.Put(port);
        Assert.Equal(0, Call(EventChannelOp.Close));
        Assert.Equal(-(long)Errno.EINVAL, Call(EventChannelOp.Close));
    }

    [Fact]
    public void Ports_run_out_with_ENOSPC()
    {
        _guest.Put(new EvtchnAllocUnbound { Dom = SpecialDomain.Self });
        var calls = 0;
        long result;
        while ((result = Call(EventChannelOp.AllocUnbound)) == 0)
        {
            calls++;
        }

        Assert.Equal(-(long)Errno.ENOSPC, result);
        Assert.Equal((int)EventChannelTable.DefaultMaxPort, calls);
    }

    [Fact]
    public void Interrupts_and_IPIs_are_bound_and_sent()
    {
        _guest.Put(new EvtchnBindIpi { Vcpu = 2 });
        Assert.Equal(0, Call(EventChannelOp.BindIpi));
        var port = _guest.Get<EvtchnBindIpi>().Port;
        _guest.Put(port);
        Assert.Equal(0, Call(EventChannelOp.Send));
        Assert.Equal([2u], _guest.Pages.Upcalls);
        Assert.Equal(0, Call(EventChannelOp.Unmask));

        _guest.Put(new EvtchnBindVirq { Virq = Virq.Timer, Vcpu = 1 });
        Assert.Equal(0, Call(EventChannelOp.BindVirq));
        Assert.Equal(port + 1, _guest.Get<EvtchnBindVirq>().Port);
        Assert.Equal(-(long)Errno.EEXIST, Call(EventChannelOp.BindVirq));
        _guest.Put(new EvtchnBindVcpu { Port = port, Vcpu = 0 });
        Assert.Equal(-(long)Errno.EINVAL, Call(EventChannelOp.BindVcpu));
    }

    [Fact]
    public void Other_domains_are_looked_up_before_rights()
    {
        _guest.Put(new EvtchnAllocUnbound { Dom = 9 });
        Assert.Equal(-(long)Errno.ESRCH, Call(EventChannelOp.AllocUnbound));
        _guest.Put(new EvtchnBindInterdomain { RemoteDom = 9, RemotePort = 1 });
        Assert.Equal(-(long)Errno.ESRCH, Call(EventChannelOp.BindInterdomain));

        var pages = new SharedPages();
        var other = new EventChannelTable(9, new SharedInfoPage(pages), pages);
        _guest.Others[9] = other;
        Assert.Equal(0, other.AllocateUnbound(5, out var remote));
        _guest.Put(new EvtchnBindInterdomain { RemoteDom = 9, RemotePort = remote });
        Assert.Equal(0, Call(EventChannelOp.BindInterdomain));
        _guest.Put(_guest.Get<EvtchnBindInterdomain>().LocalPort);
        Assert.Equal(0, Call(EventChannelOp.Send));
        Assert.True(other.IsPending(remote));

        _guest.Put(new EvtchnAllocUnbound { Dom = 9 });
        Assert.Equal(-(long)Errno.EPERM, Call(EventChannelOp.AllocUnbound));
        _guest.Put(new EvtchnStatus { Dom = 9, Port = remote });
        Assert.Equal(-(long)Errno.EPERM, Call(EventChannelOp.Status));
        _guest.Put((ushort)9);
        Assert.Equal(-(long)Errno.EPERM, Call(EventChannelOp.Reset));
        Assert.Equal(1, other.ActivePorts);
    }

    [Fact]
    public void A_reset_closes_everything()
    {
        _guest.Events.BindIpi(0, out _);
        _guest.Events.AllocateUnbound(0, out _);
        _guest.Put(SpecialDomain.Self);
        Assert.Equal(0, Call(EventChannelOp.Reset));
        Assert.Equal(0, _guest.Events.ActivePorts);
    }

    // gfn | offset | vcpu | expected
    [Theory]
    [InlineData(ulong.MaxValue - 1, 0u, 0u, Errno.EINVAL)]
    [InlineData(2UL, 4096u - 64, 0u, Errno.EINVAL)]
    [InlineData(2UL, 4u, 0u, Errno.EINVAL)]
    [InlineData(2UL, 0u, 4u, Errno.ENOENT)]
    [InlineData(2UL, 0u, 0u, Errno.ENOSYS)]
    public void The_FIFO_layout_is_checked_for_and_not_offered(ulong gfn, uint offset, uint vcpu, Errno expected)
    {
        _guest.Put(new EvtchnInitControl { ControlGfn = gfn, Offset = offset, Vcpu = vcpu });
        Assert.Equal(-(long)expected, Call(EventChannelOp.InitControl));
        Assert.Equal(-(long)Errno.EOPNOTSUPP, Call(EventChannelOp.ExpandArray));
    }

    [Fact]
    public void Every_argument_can_be_missing()
    {
        for (var command = 0u; command <= EventChannelOp.ExpandArray; command++)
        {
            var expected = command == EventChannelOp.BindPirq ? Errno.EINVAL : Errno.EFAULT;
            Assert.Equal(-(long)expected, Call(command, 8));
        }

        Assert.Equal(-(long)Errno.ENOSYS, Call(EventChannelOp.SetPriority));
        Assert.Equal(-(long)Errno.ENOSYS, Call(77));
    }
}
