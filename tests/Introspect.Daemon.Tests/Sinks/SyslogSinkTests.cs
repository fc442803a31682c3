using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Introspect.Daemon.Output;
using Introspect.Daemon.Sinks.Syslog;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tests.Sinks;

public sealed partial class SyslogSinkTests
{
    private const int Local0 = 16;

    [Theory]
    [InlineData("unix:/dev/log", "unix:/dev/log")]
    [InlineData("/dev/log", "unix:/dev/log")]
    [InlineData("udp://logs.example", "udp://logs.example:514")]
    [InlineData("udp://[::1]:5514", "udp://[::1]:5514")]
    [InlineData("tcp://10.0.0.1", "tcp://10.0.0.1:601")]
    [InlineData("tcp://10.0.0.1:6514/", "tcp://10.0.0.1:6514")]
    [InlineData("http://10.0.0.1", null)]
    [InlineData("tcp://", null)]
    [InlineData("tcp://h/path", null)]
    [InlineData("logs.example:514", null)]
    public void addresses_are_read(string text, string? address) => Assert.Equal(address, SyslogAddress.Parse(text)?.ToString());

    [Fact]
    public void a_message_is_what_rfc_5424_says()
    {
        var folder = Directory.CreateTempSubdirectory("introspect-syslog-").FullName;
        try
        {
            var path = Path.Combine(folder, "log");
            using var log = Datagrams.Listen(path);
            using var sink = Sink($"unix:{path}");
            sink.Write(SampleRecords.Denied(VmEventReason.WriteCtrlreg, handler: "a]b\\c"), SampleRecords.Web);
            var message = Rfc5424().Match(Encoding.UTF8.GetString(Datagrams.Receive(log)));
            Assert.True(message.Success);
            Assert.Equal(((Local0 * 8) + 4).ToString(System.Globalization.CultureInfo.InvariantCulture), message.Groups["pri"].Value);
            Assert.Equal("2026-01-02T03:04:05.678000Z", message.Groups["time"].Value);
            Assert.Equal("introspect", message.Groups["app"].Value);
            Assert.Equal(Environment.ProcessId.ToString(System.Globalization.CultureInfo.InvariantCulture), message.Groups["proc"].Value);
            Assert.Equal("write_ctrlreg", message.Groups["id"].Value);
            Assert.Equal("""domain="web \"1\"?" domain_id="7" vcpu="1" sequence="2" verdict="deny" rule="a\]b\\c" """.TrimEnd(), message.Groups["data"].Value);
            Assert.Equal("web \"1\"? v1 write_ctrlreg CR4 0x20 -> 0x100020 +SMEP at 0x10104c [deny by a]b\\c]", message.Groups["text"].Value);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void messages_go_by_udp()
    {
        using var server = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0)) { Client = { ReceiveTimeout = 30_000 } };
        using var sink = Sink($"udp://127.0.0.1:{((IPEndPoint)server.Client.LocalEndPoint!).Port}", JsonShape.Ecs);
        sink.Write(SampleRecords.Allowed(VmEventReason.Cpuid), SampleRecords.Web);
        IPEndPoint? from = null;
        var message = Rfc5424().Match(Encoding.UTF8.GetString(server.Receive(ref from)));
        Assert.Equal("134", message.Groups["pri"].Value);
        Assert.Equal("cpuid", JsonDocument.Parse(message.Groups["text"].Value).RootElement.GetProperty("event").GetProperty("action").GetString());
    }

    [Fact]
    public void messages_go_by_tcp_each_with_its_length_and_a_connection_that_broke_is_made_again()
    {
        using var server = new TcpListener(IPAddress.Loopback, 0);
        server.Start();
        using var sink = Sink($"tcp://127.0.0.1:{((IPEndPoint)server.LocalEndpoint).Port}");
        sink.Write(SampleRecords.Allowed(VmEventReason.Cpuid, 1), SampleRecords.Web);
        sink.Write(SampleRecords.Allowed(VmEventReason.Cpuid, 2), SampleRecords.Web);
        sink.Flush();
        using (var first = server.AcceptTcpClient())
        {
            Assert.Equal(["1", "2"], [Sequence(first), Sequence(first)]);
        }

        sink.Write(SampleRecords.Allowed(VmEventReason.Cpuid, 3), SampleRecords.Web);
        // The closing may not have arrived yet; a write then goes into the old connection.
        var flushed = SpinWait.SpinUntil(
            () =>
            {
                if (Succeeds(sink.Flush) && server.Pending())
                {
                    return true;
                }

                sink.Write(SampleRecords.Allowed(VmEventReason.Cpuid, 3), SampleRecords.Web);
                return false;
            },
            TimeSpan.FromSeconds(30));
        Assert.True(flushed);
        using var second = server.AcceptTcpClient();
        Assert.Equal("3", Sequence(second));
    }

    [Fact]
    public void what_no_server_takes_waits_within_bounds()
    {
        var port = FreePort();
        using var sink = Sink($"tcp://127.0.0.1:{port}");
        var written = 0;
        var e = Assert.Throws<IOException>(() =>
        {
            for (; written < 100_000; written++)
            {
                sink.Write(SampleRecords.Allowed(VmEventReason.Cpuid, (ulong)written), SampleRecords.Web);
            }
        });
        Assert.Contains($"tcp://127.0.0.1:{port}", e.Message, StringComparison.Ordinal);
        Assert.InRange(written, 10, 2000);

        // The server comes: everything that was taken arrives, in order.
        using var server = new TcpListener(IPAddress.Loopback, port);
        server.Start();
        Assert.True(SpinWait.SpinUntil(() => Succeeds(sink.Flush), TimeSpan.FromSeconds(30)));
        using var client = server.AcceptTcpClient();
        for (var i = 0; i < written; i++)
        {
            Assert.Equal(i.ToString(System.Globalization.CultureInfo.InvariantCulture), Sequence(client));
        }
    }

    private static SyslogSink Sink(string address, JsonShape? shape = null) => new(new(SyslogAddress.Parse(address)!, Local0, shape));

    private static bool Succeeds(Action action)
    {
        try
        {
            action();
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private static string Sequence(TcpClient client)
    {
        var stream = client.GetStream();
        stream.ReadTimeout = 30_000;
        var length = 0;
        for (int digit; (digit = stream.ReadByte()) != ' ';)
        {
            Assert.InRange(digit, '0', '9');
            length = (length * 10) + digit - '0';
        }

        var message = new byte[length];
        stream.ReadExactly(message);
        return Regex.Match(Rfc5424().Match(Encoding.UTF8.GetString(message)).Groups["data"].Value, "sequence=\"([0-9]+)\"").Groups[1].Value;
    }

    // RFC 5424, section 6.
    [GeneratedRegex(@"^<(?<pri>[0-9]{1,3})>1 (?<time>\S+) (?<host>[\x21-\x7e]{1,255}) (?<app>[\x21-\x7e]{1,48}) (?<proc>[\x21-\x7e]{1,128}) (?<id>[\x21-\x7e]{1,32}) \[introspect@32473 (?<data>(?:[a-z_]+=""(?:[^""\\\]]|\\[""\\\]])*"" ?)+)\] (?<text>[^\x00-\x1f]+)$")]
    private static partial Regex Rfc5424();
}
