using System.Buffers.Binary;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Tests.Host;

/// <summary>Whatever a client sends, the host goes on serving the others.</summary>
public sealed class HostilePeerTests : IDisposable
{
    private readonly HostFixture _host = new();

    public void Dispose() => _host.Dispose();

    public static TheoryData<string, byte[]> Nonsense => new()
    {
        { "one byte", [0] },
        { "half a header", new byte[HostHeader.SizeInBytes / 2] },
        { "no hello", Header(HostOperation.Domctl) },
        { "another version", Header(HostOperation.Hello, value: 99) },
        { "a negative length", Header(HostOperation.Hello, length0: -1) },
        { "a length that wraps", Header(HostOperation.Hello, length0: int.MaxValue, length1: int.MaxValue, length2: 2) },
        { "lengths that add up to too much", Header(HostOperation.Hello, length0: HostProtocol.MaxPayloadBytes, length1: 1) },
        { "more than the header says", [.. Header(HostOperation.Hello, value: HostProtocol.Version), 1, 2, 3] },
        { "a packet larger than any", new byte[HostProtocol.MaxPacketBytes + 1] },
    };

    [Theory]
    [MemberData(nameof(Nonsense))]
    public void Nonsense_ends_the_connection_and_nothing_else(string what, byte[] packet)
    {
        using var socket = Greeted();
        socket.Send(packet);
        Assert.True(EndsSoon(socket), what);
        HostFixture.Eventually(() => _host.Server.ClientCount == 0, "the client is forgotten");
        Assert.Single(_host.Log);
        AssertServes();
    }

    [Fact]
    public void Nonsense_after_a_good_start_ends_the_connection()
    {
        using var socket = Introduced();
        socket.Send(new byte[7]);
        Assert.True(EndsSoon(socket), "the connection ends");
        AssertServes();
    }

    [Fact]
    public void A_client_that_dies_in_the_middle_of_a_message_is_forgotten()
    {
        using (var socket = Introduced())
        {
            socket.Send(Header(HostOperation.Domctl, length0: 1_000_000));
            socket.Send(new byte[1000]);
            AssertServes();
        }

        HostFixture.Eventually(() => _host.Server.ClientCount == 0, "the client is forgotten");
        Assert.Empty(_host.Log);
        Assert.DoesNotContain(_host.Hypervisor.Calls, static call => call.StartsWith("domctl", StringComparison.Ordinal));
    }

    [Fact]
    public void A_client_that_never_says_hello_holds_up_nobody_not_even_the_end()
    {
        using var silent = Greeted();
        AssertServes();
        _host.Server.Dispose();
        Assert.Equal(0, silent.Receive(new byte[1]));
    }

    [Fact]
    public void A_client_that_does_not_read_its_answers_holds_up_nobody()
    {
        using var deaf = Introduced();
        for (var i = 0; i < 64; i++)
        {
            var call = new byte[HostHeader.SizeInBytes + 1000];
            Header(HostOperation.Sysctl, length0: 1000).CopyTo(call, 0);
            deaf.Send(call);
        }

        AssertServes();
    }

    [Fact]
    public void Unknown_operations_are_ENOSYS()
    {
        using var socket = Introduced();
        Assert.Equal(-(int)Errno.ENOSYS, Ask(socket, Header((HostOperation)999)));
        Assert.Equal(-(int)Errno.ENOSYS, Ask(socket, Header(HostOperation.Hello)));
    }

    [Fact]
    public void What_is_not_held_cannot_be_let_go()
    {
        using var owner = new HostClient(_host.Path);
        Assert.Equal(0, owner.MapForeign(1, [0], writable: true, out var mapping));
        using var thief = Introduced();
        for (var handle = 0UL; handle < 5; handle++)
        {
            Assert.Equal(-(int)Errno.EINVAL, Ask(thief, Header(HostOperation.UnmapForeign, value: handle)));
            Assert.Equal(-(int)Errno.EINVAL, Ask(thief, Header(HostOperation.Unbind, value: handle)));
        }

        Assert.Equal(1, _host.Hypervisor.OpenExports);
        mapping!.Dispose();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    [InlineData((HostProtocol.MaxGfnsPerCall + 1) * 8)]
    public void A_list_of_pages_of_an_impossible_length_is_EINVAL(int bytes)
    {
        using var socket = Introduced();
        SendMessage(socket, Header(HostOperation.MapForeign, length0: bytes), bytes);
        Assert.Equal(-(int)Errno.EINVAL, Answer(socket));
        Assert.Empty(_host.Hypervisor.Calls);
    }

    [Fact]
    public void A_name_that_is_no_text_is_EILSEQ_and_an_endless_one_EINVAL()
    {
        using var socket = Introduced();
        socket.Send([.. Header(HostOperation.SetDomainName, length0: 2), 0xc3, 0x28]);
        Assert.Equal(-(int)Errno.EILSEQ, Answer(socket));
        SendMessage(socket, Header(HostOperation.SetDomainName, length0: 2000), 2000);
        Assert.Equal(-(int)Errno.EINVAL, Answer(socket));
        Assert.Empty(_host.Hypervisor.Calls);
    }

    [Theory]
    [InlineData(-1, 0)]
    [InlineData(int.MaxValue, HostProtocol.MaxPacketBytes)]
    public void The_place_for_the_console_is_bounded(int asked, int given)
    {
        using var socket = Introduced();
        Ask(socket, Header(HostOperation.ReadConsole, argument: asked));
        Assert.Equal($"console 0 0 {given}", _host.Hypervisor.Calls[^1]);
    }

    [Fact]
    public void Descriptors_that_a_client_pushes_are_closed()
    {
        var (pushed, other) = UnixSocket.Pair();
        using var socket = Introduced();
        socket.Send(Header(HostOperation.GetDomainName), [pushed.Handle]);
        pushed.Dispose();
        Answer(socket);
        Assert.Equal(0, other.Receive(new byte[1]));
        other.Dispose();
    }

    [Fact]
    public void Random_packets_do_no_harm()
    {
        var random = new Random(20);
        for (var round = 0; round < 50; round++)
        {
            using var socket = round % 2 == 0 ? Greeted() : Introduced();
            for (var i = 0; i < 10; i++)
            {
                var packet = new byte[random.Next(1, 300)];
                random.NextBytes(packet);
                if (packet.Length >= HostHeader.SizeInBytes && random.Next(2) == 0)
                {
                    // A likely header, so that more than the first check is reached.
                    Header((HostOperation)random.Next(15), random.Next(), (ulong)random.Next(3), packet.Length - HostHeader.SizeInBytes).CopyTo(packet, 0);
                }

                try
                {
                    socket.Send(packet);
                }
                catch (HypervisorException gone) when (gone.Error == Errno.EPIPE)
                {
                    break;
                }
            }
        }

        AssertServes();
        HostFixture.Eventually(() => _host.Server.ClientCount == 0, "every client is forgotten");
        Assert.Equal((0, 0), (_host.Hypervisor.OpenExports, _host.Hypervisor.OpenChannels));
    }

    private static byte[] Header(HostOperation operation, int argument = 0, ulong value = 0, int length0 = 0, int length1 = 0, int length2 = 0)
    {
        var bytes = new byte[HostHeader.SizeInBytes];
        new HostHeader(operation, 0, 1, argument, value, length0, length1, length2).Write(bytes);
        return bytes;
    }

    private static void SendMessage(UnixSocket socket, byte[] header, int bytes)
    {
        var message = new byte[header.Length + bytes];
        header.CopyTo(message, 0);
        for (var at = 0; at < message.Length; at += HostProtocol.MaxPacketBytes)
        {
            socket.Send(message.AsSpan(at, Math.Min(HostProtocol.MaxPacketBytes, message.Length - at)));
        }
    }

    private static int Ask(UnixSocket socket, byte[] packet)
    {
        socket.Send(packet);
        return Answer(socket);
    }

    private static int Answer(UnixSocket socket)
    {
        var answer = new byte[HostProtocol.MaxPacketBytes];
        Assert.True(HostHeader.TryRead(answer.AsSpan(0, socket.Receive(answer)), out var header));
        return header.Argument;
    }

    private static bool EndsSoon(UnixSocket socket)
    {
        // A hello that was not understood is answered before the end.
        var answer = new byte[HostProtocol.MaxPacketBytes];
        var received = socket.Receive(answer);
        if (received > 0)
        {
            Assert.Equal(-(int)Errno.EOPNOTSUPP, BinaryPrimitives.ReadInt32LittleEndian(answer.AsSpan(8)));
            received = socket.Receive(answer);
        }

        return received == 0;
    }

    private UnixSocket Greeted()
    {
        var socket = UnixSocket.Connect(_host.Path);
        var greeting = new byte[HostProtocol.GreetingBytes];
        Assert.Equal(greeting.Length, socket.Receive(greeting));
        Assert.True(HostProtocol.TryReadGreeting(greeting, out _, out var status));
        Assert.Equal(0, status);
        return socket;
    }

    private UnixSocket Introduced()
    {
        var socket = Greeted();
        Assert.Equal(0, Ask(socket, Header(HostOperation.Hello, value: HostProtocol.Version)));
        return socket;
    }

    private void AssertServes()
    {
        using var client = new HostClient(_host.Path);
        Assert.Equal("größe", client.GetDomainName(1));
    }
}
