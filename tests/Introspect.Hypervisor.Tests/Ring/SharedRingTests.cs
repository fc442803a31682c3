using System.Buffers.Binary;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;
using Introspect.Hypervisor.Tests.House;

namespace Introspect.Hypervisor.Tests.Ring;

public sealed class SharedRingTests : IDisposable
{
    private readonly MemoryFile _file;
    private readonly MappedMemory _monitorPage;
    private readonly MappedMemory _hypervisorPage;
    private readonly MonitorRing _monitor;
    private readonly HypervisorRing _hypervisor;

    public SharedRingTests()
    {
        _file = MemoryFile.Create("ring-test", SharedRing.PageSize);
        _monitorPage = _file.Map(0, SharedRing.PageSize, writable: true);
        _hypervisorPage = _file.Map(0, SharedRing.PageSize, writable: true);
        _monitor = new(_monitorPage.Address);
        _hypervisor = new(_hypervisorPage.Address);
        _monitor.Initialise();
    }

    public void Dispose()
    {
        _monitorPage.Dispose();
        _hypervisorPage.Dispose();
        _file.Dispose();
    }

    [Theory]
    [InlineData(400)]
    [InlineData(384)]
    [InlineData(376)]
    [InlineData(312)]
    public void A_page_has_eight_slots_whatever_the_version(int elementSize) =>
        Assert.Equal(8, new MonitorRing(_monitorPage.Address, elementSize).Slots);

    [Fact]
    public void Initialising_sets_indices_and_padding_and_leaves_the_slots()
    {
        _monitorPage.Span.Fill(0xcc);
        _monitor.Initialise();
        var expected = new byte[64];
        expected[4] = expected[12] = 1;
        Assert.Equal(expected, _monitorPage.Span[..64].ToArray());
        Assert.Equal(0xcc, _monitorPage.Span[64]);
    }

    [Fact]
    public void Requests_and_responses_lie_in_their_slots()
    {
        for (var i = 0u; i < 8; i++)
        {
            _hypervisor.Put(new VmEvent { Version = 7, VcpuId = 100 + i });
        }

        _hypervisor.Push();
        Assert.Equal(8u, Index(0));
        for (var i = 0; i < 8; i++)
        {
            Assert.Equal(100u + (uint)i, BinaryPrimitives.ReadUInt32LittleEndian(_monitorPage.Span[(64 + (i * 400) + 12)..]));
        }

        Assert.Equal(RingStatus.Taken, _monitor.Take(out var request));
        request.VcpuId = 7;
        _monitor.Put(request);
        Assert.Equal(0u, Index(8));
        _monitor.Push();
        Assert.Equal(1u, Index(8));
        Assert.Equal(7u, BinaryPrimitives.ReadUInt32LittleEndian(_monitorPage.Span[(64 + 12)..]));
    }

    [Fact]
    public void Nothing_is_seen_before_the_push()
    {
        _hypervisor.Put(Request(1));
        Assert.Equal(RingStatus.Empty, _monitor.Take(out _));
        _hypervisor.Push();
        Assert.Equal(1, _monitor.UnconsumedRequests);
        Assert.Equal(RingStatus.Taken, _monitor.Take(out var request));
        _monitor.Put(request);
        Assert.Equal(RingStatus.Empty, _hypervisor.Take(out _));
        _monitor.Push();
        Assert.Equal(1, _hypervisor.UnconsumedResponses);
        Assert.Equal(RingStatus.Taken, _hypervisor.Take(out _));
    }

    [Fact]
    public void A_slot_is_free_again_when_its_response_was_taken()
    {
        for (var i = 0u; i < 8; i++)
        {
            Assert.Equal(8 - (int)i, _hypervisor.FreeRequests);
            _hypervisor.Put(Request(i));
        }

        Assert.Equal(0, _hypervisor.FreeRequests);
        Assert.Throws<InvalidOperationException>(() => _hypervisor.Put(Request(9)));
        _hypervisor.Push();
        _monitor.Take(out var request);
        Assert.Equal(0, _hypervisor.FreeRequests);
        _monitor.Put(request);
        _monitor.Push();
        Assert.Equal(0, _hypervisor.FreeRequests);
        _hypervisor.Take(out _);
        Assert.Equal(1, _hypervisor.FreeRequests);
    }

    [Fact]
    public void A_response_needs_a_request_that_was_taken() =>
        Assert.Throws<InvalidOperationException>(() => _monitor.Put(Request(0)));

    [Fact]
    public void A_final_check_asks_for_a_signal_at_the_next_message()
    {
        Assert.False(_monitor.FinalCheckForRequests());
        _hypervisor.Put(Request(0));
        Assert.True(_hypervisor.PushAndCheckNotify());
        Assert.True(_monitor.FinalCheckForRequests());
        _hypervisor.Put(Request(1));
        Assert.False(_hypervisor.PushAndCheckNotify());

        Assert.False(_hypervisor.FinalCheckForResponses());
        _monitor.Take(out var request);
        _monitor.Put(request);
        Assert.True(_monitor.PushAndCheckNotify());
        Assert.True(_hypervisor.FinalCheckForResponses());
        _monitor.Take(out request);
        _monitor.Put(request);
        Assert.False(_monitor.PushAndCheckNotify());
    }

    [Theory]
    [InlineData(9u)]
    [InlineData(0x80000000u)]
    [InlineData(0xffffffffu)]
    public void A_request_producer_too_far_ahead_is_told(uint producer)
    {
        SetIndex(0, producer);
        Assert.Equal(RingStatus.Corrupt, _monitor.Take(out _));
        Assert.InRange(_monitor.UnconsumedRequests, 0, 8);
        SetIndex(0, 0);
        Assert.Equal(RingStatus.Empty, _monitor.Take(out _));
    }

    [Theory]
    [InlineData(9u)]
    [InlineData(0x80000000u)]
    [InlineData(0xffffffffu)]
    public void A_response_producer_too_far_ahead_is_told(uint producer)
    {
        SetIndex(8, producer);
        Assert.Equal(RingStatus.Corrupt, _hypervisor.Take(out _));
        Assert.InRange(_hypervisor.UnconsumedResponses, 0, 8);
    }

    [Fact]
    public void A_producer_that_goes_on_while_requests_are_unanswered_is_told_at_the_ninth()
    {
        SetIndex(0, 8);
        for (var i = 0; i < 8; i++)
        {
            Assert.Equal(RingStatus.Taken, _monitor.Take(out _));
        }

        SetIndex(0, 9);
        Assert.Equal(RingStatus.Corrupt, _monitor.Take(out _));
        Assert.Equal(0, _monitor.UnconsumedRequests);
    }

    [Fact]
    public void A_producer_that_goes_backwards_is_told()
    {
        SetIndex(0, 4);
        Assert.Equal(RingStatus.Taken, _monitor.Take(out _));
        Assert.Equal(RingStatus.Taken, _monitor.Take(out _));
        SetIndex(0, 1);
        Assert.Equal(RingStatus.Corrupt, _monitor.Take(out _));
        Assert.InRange(_monitor.UnconsumedRequests, 0, 8);
    }

    [Fact]
    public void Responses_that_nobody_asked_for_never_make_more_room_than_there_is()
    {
        SetIndex(8, 5);
        for (var i = 0; i < 5; i++)
        {
            Assert.Equal(RingStatus.Taken, _hypervisor.Take(out _));
        }

        Assert.Equal(RingStatus.Empty, _hypervisor.Take(out _));
        Assert.Equal(8, _hypervisor.FreeRequests);
    }

    [Fact]
    public void A_dead_monitors_ring_is_adopted_at_its_first_unanswered_request()
    {
        for (var i = 0u; i < 5; i++)
        {
            _hypervisor.Put(Request(i));
        }

        _hypervisor.Push();
        _monitor.Take(out var request);
        _monitor.Put(request);
        _monitor.Push();
        _monitor.Take(out _);

        var heir = new MonitorRing(_monitorPage.Address);
        heir.Adopt();
        Assert.Equal(4, heir.UnconsumedRequests);
        heir.Take(out request);
        Assert.Equal(1u, request.VcpuId);
    }

    [Fact]
    public void Indices_wrap_around()
    {
        // Adopt puts both sides close below 2^32, as after four milliard events.
        SetIndex(0, 0xfffffffd);
        SetIndex(8, 0xfffffffd);
        _monitor.Adopt();
        var raw = new byte[400];
        for (var i = 0u; i < 20; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(12), i);
            var index = 0xfffffffd + i;
            raw.CopyTo(_hypervisorPage.Span[(64 + ((int)(index & 7) * 400))..]);
            SetIndex(0, index + 1);
            Assert.Equal(1, _monitor.UnconsumedRequests);
            Assert.Equal(RingStatus.Taken, _monitor.Take(out var request));
            Assert.Equal(i, request.VcpuId);
            Assert.Equal(RingStatus.Empty, _monitor.Take(out _));
            _monitor.Put(request);
            _monitor.Push();
            Assert.Equal(index + 1, Index(8));
        }
    }

    [Theory]
    [InlineData(400)]
    [InlineData(312)]
    public async Task Two_threads_pass_every_event_once_and_in_order(int elementSize)
    {
        const uint Events = 50_000;
        var monitor = new MonitorRing(_monitorPage.Address, elementSize);
        var hypervisor = new HypervisorRing(_hypervisorPage.Address, elementSize);
        monitor.Initialise();
        var answers = Task.Run(() =>
        {
            var slot = new byte[elementSize];
            var idle = new SpinWait();
            for (var next = 0u; next < Events;)
            {
                switch (monitor.Take(slot))
                {
                    case RingStatus.Taken:
                        idle.Reset();
                        CheckPattern(slot, next++);
                        slot[0] ^= 0xff;
                        monitor.Put(slot);
                        monitor.Push();
                        break;
                    case RingStatus.Empty:
                        idle.SpinOnce(sleep1Threshold: -1);
                        break;
                    default:
                        Assert.Fail(monitor.State);
                        break;
                }
            }
        });

        var message = new byte[elementSize];
        var sent = 0u;
        var received = 0u;
        var full = new SpinWait();
        while (received < Events && !answers.IsFaulted)
        {
            while (sent < Events && hypervisor.FreeRequests > 0)
            {
                FillPattern(message, sent++);
                hypervisor.Put(message);
                hypervisor.Push();
            }

            while (hypervisor.Take(message) == RingStatus.Taken)
            {
                message[0] ^= 0xff;
                CheckPattern(message, received++);
                full.Reset();
            }

            full.SpinOnce(sleep1Threshold: -1);
        }

        await answers;
        Assert.Equal(Events, received);
        Assert.Equal(8, hypervisor.FreeRequests);
    }

    [Fact]
    public void A_ring_round_trip_allocates_nothing()
    {
        Assert.Equal(0, Allocation.LeastOf(() =>
        {
            for (var i = 0; i < 100; i++)
            {
                RoundTrip();
            }
        }));
    }

    private static VmEvent Request(uint vcpu) => new() { Version = 7, VcpuId = vcpu };

    private static void FillPattern(byte[] message, uint number)
    {
        message.AsSpan().Fill((byte)number);
        BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(message.Length / 2), number);
    }

    private static void CheckPattern(byte[] message, uint number)
    {
        Assert.Equal(number, BinaryPrimitives.ReadUInt32LittleEndian(message.AsSpan(message.Length / 2)));
        Assert.Equal((byte)number, message[0]);
        Assert.Equal((byte)number, message[^1]);
    }

    private void RoundTrip()
    {
        _hypervisor.Put(Request(1));
        _hypervisor.Push();
        _monitor.Take(out var request);
        _monitor.Put(request);
        _monitor.Push();
        _hypervisor.Take(out _);
    }

    private uint Index(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(_monitorPage.Span[offset..]);

    private void SetIndex(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_monitorPage.Span[offset..], value);
}
