using System.Runtime.CompilerServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Tests.Platform;

public sealed class EventChannelTableTests
{
    private readonly SharedPages _pages = new();
    private readonly SharedInfoPage _shared;
    private readonly EventChannelTable _table;

    public EventChannelTableTests()
    {
        _shared = new SharedInfoPage(_pages);
        _table = new EventChannelTable(5, _shared, _pages);
    }

    private static EventChannelTable Other(ushort id, SharedPages pages) => new(id, new SharedInfoPage(pages), pages);

    private bool Pending(uint port) => (_pages.Page[2048 + (port / 8)] & (1 << (int)(port % 8))) != 0;

    private void Mask(uint port) => _pages.Page[2560 + (port / 8)] |= (byte)(1 << (int)(port % 8));

    private EvtchnStatus Status(uint port)
    {
        var status = new EvtchnStatus { Port = port };
        Assert.Equal(0, _table.Query(ref status));
        return status;
    }

    [Fact]
    public void State_is_plain_and_small()
    {
        Assert.False(RuntimeHelpers.IsReferenceOrContainsReferences<PortEntry>());
        Assert.Equal(16, Unsafe.SizeOf<PortEntry>());
    }

    [Fact]
    public void Ports_are_given_out_from_1_and_again_after_a_close()
    {
        Assert.Equal(0, _table.AllocateUnbound(3, out var first));
        Assert.Equal(0, _table.AllocateUnbound(3, out var second));
        Assert.Equal((1u, 2u), (first, second));
        Assert.Equal(0, _table.Close(first, byGuest: true));
        Assert.Equal(0, _table.AllocateUnbound(4, out var third));
        Assert.Equal(1u, third);
        Assert.Equal((1u, (ushort)4), (Status(1).Status, Status(1).UnboundDom));
        Assert.Equal(-(int)Errno.EINVAL, _table.Close(63, byGuest: true));
        Assert.Equal(-(int)Errno.EINVAL, _table.Close(0, byGuest: true));
        Assert.Equal(2, _table.ActivePorts);
    }

    [Theory]
    [InlineData(true, 5000u, 4095)]
    [InlineData(false, 5000u, 1023)]
    [InlineData(true, 1023u, 1023)]
    public void The_table_ends_where_the_guests_bits_or_the_limit_end(bool is64, uint limit, int expected)
    {
        _shared.Latch(is64);
        var table = new EventChannelTable(5, _shared, _pages, limit);
        var count = 0;
        while (table.AllocateUnbound(0, out _) == 0)
        {
            count++;
        }

        Assert.Equal(expected, count);
        Assert.Equal(-(int)Errno.ENOSPC, table.AllocateUnbound(0, out _));
    }

    [Fact]
    public void An_IPI_sets_pending_selector_and_upcall_once()
    {
        Assert.Equal(0, _table.BindIpi(1, out var port));
        Assert.Equal(0, _table.Send(port));
        Assert.True(Pending(port));
        Assert.Equal(1, _pages.Page[64]); // evtchn_upcall_pending of vCPU 1
        Assert.Equal(1, _pages.Page[64 + 8]); // its selector: word 0
        Assert.Equal([1u], _pages.Upcalls);
        Assert.Equal(0, _table.Send(port));
        Assert.Equal([1u], _pages.Upcalls);
    }

    [Theory]
    [InlineData(true, 70, 1)]
    [InlineData(false, 70, 2)]
    public void Selector_bits_stand_for_words_of_the_guest(bool is64, uint target, int word)
    {
        _shared.Latch(is64);
        var port = 0u;
        while (port < target)
        {
            Assert.Equal(0, _table.BindIpi(0, out port));
        }

        _table.Send(port);
        Assert.Equal(1 << word, _pages.Page[is64 ? 8 : 4]);
    }

    [Fact]
    public void A_masked_port_becomes_pending_silently_and_tells_at_unmask()
    {
        _table.BindIpi(0, out var port);
        Mask(port);
        _table.Send(port);
        Assert.True(Pending(port));
        Assert.Empty(_pages.Upcalls);
        Assert.Equal(0, _table.Unmask(port));
        Assert.Equal([0u], _pages.Upcalls);
        Assert.Equal(0, _table.Unmask(port));
        Assert.Equal([0u], _pages.Upcalls);
        Assert.Equal(-(int)Errno.EINVAL, _table.Unmask(100_000));
    }

    [Fact]
    public void Virtual_interrupts_are_bound_once_a_vcpu()
    {
        Assert.Equal(0, _table.BindVirq(Virq.Timer, 1, out var port));
        Assert.Equal(-(int)Errno.EEXIST, _table.BindVirq(Virq.Timer, 1, out _));
        Assert.Equal(-(int)Errno.ENOENT, _table.BindVirq(Virq.Timer, 2, out _));
        Assert.Equal(-(int)Errno.EINVAL, _table.BindVirq(Virq.Count, 0, out _));
        Assert.Equal(-(int)Errno.EINVAL, _table.BindVirq(Virq.Console, 1, out _));
        _table.RaiseVirq(0, Virq.Timer);
        Assert.Empty(_pages.Upcalls);
        _table.RaiseVirq(1, Virq.Timer);
        Assert.Equal([1u], _pages.Upcalls);
        Assert.Equal((4u, 1u, Virq.Timer), (Status(port).Status, Status(port).Vcpu, Status(port).Virq));
        Assert.Equal(0, _table.Close(port, byGuest: true));
        Assert.False(Pending(port));
        Assert.Equal(0, _table.BindVirq(Virq.Timer, 1, out _));
    }

    [Fact]
    public void A_port_can_be_moved_to_another_vcpu_unless_it_belongs_to_one()
    {
        _table.AllocateUnbound(0, out var unbound);
        _table.BindIpi(0, out var ipi);
        _table.BindVirq(Virq.Timer, 0, out var timer);
        _table.BindVirq(Virq.Console, 0, out var console);
        Assert.Equal(0, _table.BindVcpu(unbound, 1));
        Assert.Equal(1u, Status(unbound).Vcpu);
        Assert.Equal(0, _table.BindVcpu(console, 1));
        Assert.Equal(0, _table.Close(console, byGuest: true));
        Assert.Equal(-(int)Errno.EINVAL, _table.BindVcpu(ipi, 1));
        Assert.Equal(-(int)Errno.EINVAL, _table.BindVcpu(timer, 1));
        Assert.Equal(-(int)Errno.ENOENT, _table.BindVcpu(unbound, 2));
    }

    [Fact]
    public void A_tool_connects_to_an_unbound_port_and_both_ends_signal()
    {
        var tool = new CountingPeer();
        _table.AllocateUnbound(0, out var port);
        Assert.Equal(0, _table.Send(port)); // dropped: nobody is there
        Assert.Equal(-(int)Errno.EINVAL, _table.Connect(port, 3, 9, tool));
        Assert.Equal(0, _table.Connect(port, 0, 9, tool));
        Assert.Equal(-(int)Errno.EINVAL, _table.Connect(port, 0, 9, tool));
        Assert.Equal((2u, (ushort)0, 9u), (Status(port).Status, Status(port).InterdomainDom, Status(port).InterdomainPort));
        _table.Send(port);
        Assert.Equal(1, tool.Signals);
        _table.Signal(port);
        Assert.True(Pending(port));
        _table.Disconnect(port);
        Assert.Equal(1u, Status(port).Status);
        _table.Send(port);
        Assert.Equal(1, tool.Signals);
    }

    [Fact]
    public void The_hypervisors_own_port_is_out_of_the_guests_reach()
    {
        var (xen, tool) = (new CountingPeer(), new CountingPeer());
        Assert.Equal(0, _table.AllocateUnboundForXen(0, 0, xen, out var port));
        Assert.Equal(0, _table.Connect(port, 0, 1, tool));
        Assert.Equal(-(int)Errno.EINVAL, _table.Send(port));
        Assert.Equal(-(int)Errno.EINVAL, _table.Close(port, byGuest: true));
        Assert.Equal(-(int)Errno.EINVAL, _table.BindVcpu(port, 1));
        var status = new EvtchnStatus { Port = port };
        Assert.Equal(-(int)Errno.EACCES, _table.Query(ref status));
        _table.Signal(port);
        Assert.Equal(1, xen.Signals);
        Assert.False(Pending(port));
        _table.NotifyRemote(port);
        Assert.Equal(1, tool.Signals);
        _table.Reset();
        _table.NotifyRemote(port);
        Assert.Equal(2, tool.Signals);
        Assert.Equal(0, _table.Close(port, byGuest: false));
    }

    [Fact]
    public void Two_domains_connect_and_send_to_each_other()
    {
        var pages = new SharedPages();
        var other = Other(3, pages);
        Assert.Equal(0, other.AllocateUnbound(5, out var remote));
        Assert.Equal(0, _table.BindInterdomain(other, remote, out var local));
        Assert.True(Pending(local), "what was sent before is lost, so the binder looks once");
        Assert.Equal(-(int)Errno.EINVAL, _table.BindInterdomain(other, remote, out _));
        Assert.Equal(1, _table.ActivePorts);

        Assert.Equal(0, _table.Send(local));
        Assert.True(other.IsPending(remote));
        _shared.ClearPending(local);
        Assert.Equal(0, other.Send(remote));
        Assert.True(Pending(local));

        Assert.Equal(0, other.Close(remote, byGuest: true));
        Assert.Equal((1u, (ushort)3), (Status(local).Status, Status(local).UnboundDom));
    }

    [Fact]
    public void A_port_that_waits_for_another_domain_cannot_be_bound()
    {
        var other = Other(3, new SharedPages());
        other.AllocateUnbound(4, out var remote);
        Assert.Equal(-(int)Errno.EINVAL, _table.BindInterdomain(other, remote, out _));
        Assert.Equal(-(int)Errno.EINVAL, _table.BindInterdomain(other, 60, out _));
        Assert.Equal(-(int)Errno.EINVAL, _table.BindInterdomain(other, 100_000, out _));
        Assert.Equal(0, _table.ActivePorts);
    }

    [Fact]
    public void A_domain_may_connect_to_itself()
    {
        _table.AllocateUnbound(5, out var first);
        Assert.Equal(0, _table.BindInterdomain(_table, first, out var second));
        Assert.NotEqual(first, second);
        _table.Send(second);
        Assert.True(Pending(first));
    }

    [Fact]
    public void A_poll_ends_with_its_port_and_with_no_other()
    {
        _table.BindIpi(0, out var a);
        _table.BindIpi(0, out var b);
        Mask(a);
        Mask(b);
        Assert.Equal(0, _table.StartPoll(1, [a]));
        _table.Send(b);
        Assert.Empty(_pages.Woken);
        _table.Send(a);
        Assert.Equal([1u], _pages.Woken);
        Assert.Equal(1, _table.StartPoll(1, [a]));
        Assert.Equal(-(int)Errno.EINVAL, _table.StartPoll(1, [4096]));
    }

    [Fact]
    public void A_poll_of_several_ports_looks_again_at_any()
    {
        _table.BindIpi(0, out var a);
        _table.BindIpi(0, out var b);
        Assert.Equal(0, _table.StartPoll(1, [a, b]));
        _table.Send(b);
        Assert.Equal([1u], _pages.Woken);
        Assert.Equal(1, _table.StartPoll(0, [a])); // vCPU 0 has an upcall waiting
    }

    [Fact]
    public void A_moved_structure_makes_the_vcpu_look_at_everything()
    {
        _pages.Registered[1] = new byte[64];
        _table.OnVcpuInfoMoved(1);
        Assert.Equal([1u], _pages.Upcalls);
        Assert.Equal(ulong.MaxValue, BitConverter.ToUInt64(_pages.Registered[1]!, 8));
        _shared.Latch(false);
        _pages.Registered[0] = new byte[64];
        _table.OnVcpuInfoMoved(0);
        Assert.Equal(0xFFFF_FFFFUL, BitConverter.ToUInt64(_pages.Registered[0]!, 4));
    }
}
