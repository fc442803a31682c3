using System.Text;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Tests.Lab;

/// <summary>Whatever a client asks for, it gets an answer, and the others are served.</summary>
public sealed class HostileLabRequestTests : IDisposable
{
    private readonly LabFixture _lab = new();

    public void Dispose() => _lab.Dispose();

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("{\"Name\":\"a\"}")]
    [InlineData("{\"Name\":\"a\",\"MemoryKiB\":-1}")]
    [InlineData("{\"Name\":\"a\",\"MemoryKiB\":8192,\"Unknown\":1}")]
    [InlineData("{\"Name\":\"a\",\"MemoryKiB\":8192,\"OnReboot\":\"explode\"}")]
    [InlineData("{\"Name\":\"a\",\"MemoryKiB\":8192,\"Modules\":[[[[[[[[[[]]]]]]]]]]}")]
    [InlineData("{\"Name\":null,\"MemoryKiB\":8192}")]
    public void What_is_no_request_is_EINVAL_with_a_reason(string json)
    {
        using var socket = Introduced();
        foreach (var operation in new[] { HostOperation.LabCreate, HostOperation.LabSave, HostOperation.LabRestore, HostOperation.LabDumpCore })
        {
            var (result, reason) = Ask(socket, operation, Encoding.UTF8.GetBytes(json));
            Assert.Equal(-(int)Errno.EINVAL, result);
            Assert.NotEmpty(reason);
        }

        Assert.Empty(_lab.Machine.Domains);
        Assert.Empty(_lab.Lab.ReportAll());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(15)]
    [InlineData(17)]
    [InlineData(60_000)]
    public void What_is_no_uuid_is_EINVAL(int bytes)
    {
        using var socket = Introduced();
        foreach (var operation in new[] { HostOperation.LabReport, HostOperation.LabFollowConsole, HostOperation.LabWriteConsole, HostOperation.LabPower })
        {
            Assert.Equal(-(int)Errno.EINVAL, Ask(socket, operation, new byte[bytes]).Result);
        }
    }

    [Fact]
    public void Nobody_waits_longer_than_a_second_whatever_was_asked()
    {
        var created = _lab.Lab.Create(new() { Name = "guest", MemoryKiB = 8192, StartPaused = true });
        using var socket = Introduced();
        Assert.Equal(0, Ask(socket, HostOperation.LabReport, created.Uuid.ToByteArray(bigEndian: true), argument: int.MaxValue).Result);
        Assert.Equal(0, Ask(socket, HostOperation.LabReport, created.Uuid.ToByteArray(bigEndian: true), argument: int.MinValue).Result);
        Assert.Equal(0, Ask(socket, HostOperation.LabFollowConsole, created.Uuid.ToByteArray(bigEndian: true), argument: int.MaxValue).Result);
    }

    [Theory]
    [InlineData(4)]
    [InlineData(ulong.MaxValue)]
    public void What_no_guest_can_be_asked_is_EINVAL_and_what_it_does_not_hear_is_not_waited_for(ulong step)
    {
        var created = _lab.Lab.Create(new() { Name = "guest", MemoryKiB = 8192, StartPaused = true });
        using var socket = Introduced();
        var uuid = created.Uuid.ToByteArray(bigEndian: true);
        Assert.Equal(-(int)Errno.EINVAL, Ask(socket, HostOperation.LabPower, uuid, value: step).Result);
        Assert.Equal((int)LabPowerAnswer.Unheard, Ask(socket, HostOperation.LabPower, uuid, value: (ulong)LabPowerStep.Reboot).Result);
        Assert.Equal("reboot", _lab.Machine.Store.Read($"/local/domain/{created.Domain}/control/shutdown"));
        Assert.Equal((int)LabPowerAnswer.Unheard, Ask(socket, HostOperation.LabPower, uuid, int.MaxValue, (ulong)LabPowerStep.Await).Result);
        Assert.Equal((int)LabPowerAnswer.Unheard, Ask(socket, HostOperation.LabPower, uuid, value: (ulong)LabPowerStep.Withdraw).Result);
        Assert.Equal("", _lab.Machine.Store.Read($"/local/domain/{created.Domain}/control/shutdown"));
    }

    [Fact]
    public void A_host_that_keeps_no_domains_says_so()
    {
        using var host = new Host.HostFixture();
        using var client = new HostClient(host.Path);
        var refused = Assert.Throws<HypervisorException>(() => client.ReportAll());
        Assert.Equal(Errno.ENOSYS, refused.Error);
        Assert.Contains("lab serve", refused.Message, StringComparison.Ordinal);
    }

    private static (int Result, string Reason) Ask(UnixSocket socket, HostOperation operation, byte[] part0, int argument = 0, ulong value = 0)
    {
        var packet = new byte[HostHeader.SizeInBytes + part0.Length];
        new HostHeader(operation, 0, 1, argument, value, Length0: part0.Length).Write(packet);
        part0.CopyTo(packet, HostHeader.SizeInBytes);
        socket.Send(packet);
        var reply = new byte[HostProtocol.MaxPacketBytes];
        var received = socket.Receive(reply);
        Assert.True(HostHeader.TryRead(reply.AsSpan(0, received), out var header), "the host answers");
        Assert.Equal(operation, header.Operation);
        return (header.Argument, Encoding.UTF8.GetString(reply, HostHeader.SizeInBytes, header.Length0));
    }

    private UnixSocket Introduced()
    {
        var socket = UnixSocket.Connect(_lab.SocketPath);
        Assert.Equal(HostProtocol.GreetingBytes, socket.Receive(new byte[64]));
        var hello = new byte[HostHeader.SizeInBytes];
        new HostHeader(HostOperation.Hello, 0, 0, 0, HostProtocol.Version).Write(hello);
        socket.Send(hello);
        Assert.Equal(HostHeader.SizeInBytes, socket.Receive(new byte[64]));
        return socket;
    }
}
