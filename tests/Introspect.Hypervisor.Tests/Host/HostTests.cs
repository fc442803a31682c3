using Introspect.Hypervisor.Core.Host;

namespace Introspect.Hypervisor.Tests.Host;

public sealed class HostTests : IDisposable
{
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(1);

    private readonly HostFixture _host = new();
    private readonly HostClient _client;

    public HostTests() => _client = new(_host.Path);

    public void Dispose()
    {
        _client.Dispose();
        _host.Dispose();
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(16, 3)]
    [InlineData(144, 65536 - 32 - 144)]
    [InlineData(144, 65536)]
    [InlineData(144, 1_000_000)]
    public void Bytes_cross_unchanged_in_both_directions(int argumentBytes, int bufferBytes)
    {
        _host.Hypervisor.Result = 42;
        Check("domctl", argumentBytes, bufferBytes, bufferBytes / 2, (a, b, c) => _client.Domctl(a, b, c));
        Check("sysctl", argumentBytes, bufferBytes, 0, (a, b, c) => _client.Sysctl(a, b));
        Check("hvm_op 19", argumentBytes, bufferBytes, bufferBytes / 3, (a, b, c) => _client.HvmOp(25, a, b, c));
        Check("memory_op ffffffc6", argumentBytes, bufferBytes, 1, (a, b, c) => _client.MemoryOp(0xffffffc6, a, b, c));
        Check("dm_op 7", argumentBytes, 0, 0, (a, b, c) => _client.DmOp(7, a));
    }

    [Fact]
    public void A_negated_errno_comes_back_and_so_do_the_bytes()
    {
        _host.Hypervisor.Result = -(int)Errno.EBUSY;
        var op = new byte[] { 0x0f };
        Assert.Equal(-(int)Errno.EBUSY, _client.Sysctl(op, default));
        Assert.Equal(0xf0, op[0]);
    }

    [Fact]
    public void A_call_too_large_for_a_socket_is_refused_and_the_connection_lives()
    {
        Assert.Equal(-(int)Errno.E2BIG, _client.Sysctl(new byte[1], new byte[HostProtocol.MaxPayloadBytes]));
        Assert.Equal(0, _client.Sysctl(new byte[1], new byte[HostProtocol.MaxPayloadBytes - 1]));
    }

    [Fact]
    public void Guest_pages_are_shared_memory_in_the_order_of_the_gfns()
    {
        using var ram = _host.Hypervisor.Ram.Map(0, 4 * 4096, writable: true);
        for (var page = 0; page < 4; page++)
        {
            ram.Span[page * 4096] = (byte)(10 + page);
        }

        Assert.Equal(0, _client.MapForeign(1, [0, 3, 3, 1], writable: true, out var mapping));
        using (mapping)
        {
            Assert.Equal(4 * 4096, mapping!.Length);
            Assert.Equal("map 1 0,3,3,1 True", _host.Hypervisor.Calls[^1]);
            Assert.Equal([13, 10, 10, 12], new[] { Byte(mapping.Address), Byte(mapping.Address + 4096), Byte(mapping.Address + 8192), Byte(mapping.Address + 12288) });
            SetByte(mapping.Address + 4096, 99);
            Assert.Equal(99, Byte(mapping.Address + 8192));
            Assert.Equal(99, ram.Span[0]);
            Assert.Equal(1, _host.Hypervisor.OpenExports);
        }

        Assert.Equal(0, _host.Hypervisor.OpenExports);
    }

    [Fact]
    public void A_mapping_of_more_pages_than_one_call_takes_is_still_one_mapping()
    {
        var gfns = new ulong[HostProtocol.MaxGfnsPerCall + 3];
        for (var i = 0; i < gfns.Length; i++)
        {
            gfns[i] = (ulong)i;
        }

        using var ram = _host.Hypervisor.Ram.Map(0, FakeHypervisor.Pages * 4096L, writable: true);
        SetByte(ram.Address + ((gfns.Length - 1) * 4096L), 7);
        SetByte(ram.Address, 3);
        Assert.Equal(0, _client.MapForeign(1, gfns, writable: false, out var mapping));
        Assert.Equal(2, _host.Hypervisor.OpenExports);
        Assert.Equal((3, 7), (Byte(mapping!.Address + (3 * 4096)), Byte(mapping.Address + mapping.Length - 4096)));
        mapping.Dispose();
        Assert.Equal(0, _host.Hypervisor.OpenExports);
    }

    [Fact]
    public void Pages_so_scattered_that_the_kernel_runs_out_of_mappings_are_ENOMEM()
    {
        var gfns = new ulong[20_000];
        for (var i = 0; i < gfns.Length; i++)
        {
            gfns[i] = (ulong)(i % 2 * 100);
        }

        Assert.Equal(-(int)Errno.ENOMEM, _client.MapForeign(1, gfns, writable: false, out var mapping));
        Assert.Null(mapping);
        Assert.Equal(0, _host.Hypervisor.OpenExports);
        Assert.Equal(0, _client.MapForeign(1, [0], writable: false, out mapping));
        mapping!.Dispose();
    }

    [Fact]
    public void A_page_that_is_not_there_fails_the_whole_mapping()
    {
        Assert.Equal(-(int)Errno.EFAULT, _client.MapForeign(1, [0, FakeHypervisor.Pages], writable: true, out var mapping));
        Assert.Null(mapping);
        Assert.Equal(-(int)Errno.ESRCH, _client.MapForeign(9, [0], writable: true, out _));
        Assert.Equal(-(int)Errno.EINVAL, _client.MapForeign(1, [], writable: true, out _));
        Assert.Equal(0, _host.Hypervisor.OpenExports);
    }

    [Fact]
    public void An_event_channel_carries_signals_both_ways()
    {
        Assert.Equal(0, _client.BindInterdomain(1, 5, out var channel));
        using (channel)
        {
            Assert.Equal(77u, channel!.Port);
            channel.Notify();
            Assert.True(_host.Hypervisor.Notified.Wait(Long));
            Assert.False(channel.Wait(TimeSpan.Zero, default));
            _host.Hypervisor.FromRemote!.Signal();
            Assert.True(channel.Wait(Long, default));
        }

        Assert.Equal(0, _host.Hypervisor.OpenChannels);
        Assert.Equal(-(int)Errno.EINVAL, _client.BindInterdomain(1, 6, out channel));
        Assert.Null(channel);
    }

    [Fact]
    public void Channels_that_come_and_go_do_not_disturb_the_others()
    {
        Assert.Equal(0, _client.BindInterdomain(1, 5, out var lasting));
        for (var i = 0; i < 20; i++)
        {
            Assert.Equal(0, _client.BindInterdomain(1, 5, out var passing));
            passing!.Dispose();
        }

        Assert.Equal(1, _host.Hypervisor.OpenChannels);
        lasting!.Notify();
        Assert.True(_host.Hypervisor.Notified.Wait(Long));
        lasting.Dispose();
    }

    [Fact]
    public void Names_cross_as_text_and_the_absence_of_one_as_null()
    {
        Assert.Equal("größe", _client.GetDomainName(1));
        Assert.Null(_client.GetDomainName(2));
        Assert.Equal(0, _client.SetDomainName(3, "naïve"));
        Assert.Equal("name 3 naïve", _host.Hypervisor.Calls[^1]);
        Assert.Equal(-(int)Errno.EINVAL, _client.SetDomainName(3, new string('x', HostProtocol.MaxNameBytes + 1)));
    }

    [Fact]
    public void The_console_is_read_from_a_position_on()
    {
        var position = 3UL;
        var place = new byte[4];
        Assert.Equal(4, _client.ReadConsole(6, ref position, place));
        Assert.Equal("defg"u8.ToArray(), place);
        Assert.Equal(7UL, position);
        Assert.Equal("console 6 3 4", _host.Hypervisor.Calls[^1]);
    }

    [Fact]
    public void A_fault_of_the_hypervisor_is_EIO_for_the_client_and_told_to_the_owner()
    {
        Assert.Null(_client.GetDomainName(5));
        Assert.Contains(_host.Log, static line => line.Contains("on purpose", StringComparison.Ordinal));
        Assert.Equal("größe", _client.GetDomainName(1));
    }

    [Fact]
    public void A_client_that_goes_lets_go_of_what_it_held_and_of_nothing_else()
    {
        Assert.Equal(0, _client.MapForeign(1, [0], writable: true, out var mine));
        using (var other = new HostClient(_host.Path))
        {
            Assert.Equal(0, other.MapForeign(1, [1], writable: true, out _));
            Assert.Equal(0, other.BindInterdomain(1, 5, out _));
            Assert.Equal((2, 1), (_host.Hypervisor.OpenExports, _host.Hypervisor.OpenChannels));
        }

        HostFixture.Eventually(() => _host.Hypervisor is { OpenExports: 1, OpenChannels: 0 }, "the other client's things are let go");
        SetByte(mine!.Address, 1);
        mine.Dispose();
        Assert.DoesNotContain(_host.Hypervisor.Calls, static call => call.StartsWith("domctl", StringComparison.Ordinal));
    }

    [Fact]
    public async Task One_client_that_waits_holds_up_no_other()
    {
        _host.Hypervisor.Hold = new();
        var waiting = Task.Run(() => _client.Domctl(new byte[8], default, default));
        using var other = new HostClient(_host.Path);
        Assert.Equal(0, other.Sysctl(new byte[8], default));
        _host.Hypervisor.Hold.Set();
        Assert.Equal(0, await waiting);
    }

    [Fact]
    public async Task When_the_host_goes_calls_answer_ENOTCONN_and_waits_end()
    {
        Assert.Equal(0, _client.BindInterdomain(1, 5, out var channel));
        var waiter = Task.Run(() => Assert.Throws<HypervisorException>(() => channel!.Wait(Timeout.InfiniteTimeSpan, default)));
        await Task.Delay(20);
        _host.Server.Dispose();
        Assert.Equal(Errno.ENOTCONN, (await waiter).Error);
        Assert.Equal(-(int)Errno.ENOTCONN, _client.Sysctl(new byte[8], default));
        Assert.Equal(-(int)Errno.ENOTCONN, _client.MapForeign(1, [0], writable: false, out _));
        Assert.Null(_client.GetDomainName(1));
        channel!.Dispose();
        Assert.Equal(0, _host.Hypervisor.OpenChannels);
        Assert.Equal(Errno.ENOENT, Assert.Throws<HypervisorException>(() => new HostClient(_host.Path)).Error);
    }

    [Fact]
    public async Task Disposing_a_client_ends_its_waiting_call()
    {
        _host.Hypervisor.Hold = new();
        using var client = new HostClient(_host.Path);
        var waiting = Task.Run(() => client.Domctl(new byte[8], default, default));
        HostFixture.Eventually(() => _host.Server.ClientCount == 2, "both are connected");
        await Task.Delay(20);
        client.Dispose();
        Assert.Equal(-(int)Errno.ENOTCONN, await waiting);
        _host.Hypervisor.Hold.Set();
    }

    private void Check(string name, int argumentBytes, int bytes0, int bytes1, Func<byte[], byte[], byte[], int> call)
    {
        var random = new Random(argumentBytes + bytes0);
        var (argument, buffer0, buffer1) = (new byte[argumentBytes], new byte[bytes0], new byte[bytes1]);
        random.NextBytes(argument);
        random.NextBytes(buffer0);
        random.NextBytes(buffer1);
        var expected = $"{name} {FakeHypervisor.Digest(argument)} {FakeHypervisor.Digest(buffer0)} {FakeHypervisor.Digest(buffer1)}";
        var answers = new[] { argument, buffer0, buffer1 }.Select(static part => FakeHypervisor.Digest([.. part.Select(static b => (byte)~b)])).ToArray();
        Assert.Equal(42, call(argument, buffer0, buffer1));
        Assert.Equal(expected, _host.Hypervisor.Calls[^1]);
        Assert.Equal(answers, new[] { argument, buffer0, buffer1 }.Select(static part => FakeHypervisor.Digest(part)));
    }

    private static byte Byte(long address) => System.Runtime.InteropServices.Marshal.ReadByte((nint)address);

    private static void SetByte(long address, byte value) => System.Runtime.InteropServices.Marshal.WriteByte((nint)address, value);
}
