using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Introspect.Daemon.Sinks;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tests.Sinks;

public sealed class JournaldSinkTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-journal-").FullName;

    private string SocketPath => Path.Combine(_folder, "socket");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void an_event_is_an_entry_with_fields_to_select_by()
    {
        using var journal = Datagrams.Listen(SocketPath);
        using var sink = new JournaldSink(SocketPath);
        sink.Write(SampleRecords.Denied(VmEventReason.WriteCtrlreg), SampleRecords.Web);
        var entry = Entry(Datagrams.Receive(journal));
        Assert.Equal("web \"1\"? v1 write_ctrlreg CR4 0x20 -> 0x100020 +SMEP at 0x10104c [deny by protect-cr4]", entry["MESSAGE"]);
        Assert.Equal(("4", "introspect", "web \"1\"?", "7"), (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"], entry["INTROSPECT_DOMAIN"], entry["INTROSPECT_DOMAIN_ID"]));
        Assert.Equal(("write_ctrlreg", "deny", "protect-cr4", "2"), (entry["INTROSPECT_REASON"], entry["INTROSPECT_VERDICT"], entry["INTROSPECT_RULE"], entry["INTROSPECT_SEQUENCE"]));
        Assert.Equal("00112233-4455-6677-8899-aabbccddeeff", entry["INTROSPECT_DOMAIN_UUID"]);
        Assert.Equal(JournaldSink.MessageId, entry["MESSAGE_ID"]);
        Assert.Equal("0x100020", JsonDocument.Parse(entry["INTROSPECT_EVENT"]).RootElement.GetProperty("write_ctrlreg").GetProperty("new").GetString());
        Assert.All(entry.Keys, key => Assert.Matches("^[A-Z][A-Z0-9_]{0,63}$", key));

        sink.Write(SampleRecords.Allowed(VmEventReason.Cpuid), SampleRecords.Web);
        entry = Entry(Datagrams.Receive(journal));
        Assert.Equal("6", entry["PRIORITY"]);
        Assert.False(entry.ContainsKey("INTROSPECT_RULE"));
    }

    [Fact]
    public void a_value_of_several_lines_goes_with_its_length()
    {
        using var journal = Datagrams.Listen(SocketPath);
        using var sink = new JournaldSink(SocketPath);
        sink.Write(SampleRecords.Denied(VmEventReason.Cpuid, handler: "two\nlines=é"), SampleRecords.Web);
        Assert.Equal("two\nlines=é", Entry(Datagrams.Receive(journal))["INTROSPECT_RULE"]);
    }

    [Fact]
    public void a_journal_that_is_not_there_is_an_error_until_it_comes()
    {
        using var sink = new JournaldSink(SocketPath);
        var e = Assert.Throws<IOException>(() => sink.Write(SampleRecords.Allowed(VmEventReason.Cpuid), SampleRecords.Web));
        Assert.Contains(SocketPath, e.Message, StringComparison.Ordinal);
        using (Datagrams.Listen(SocketPath))
        {
            sink.Write(SampleRecords.Allowed(VmEventReason.Cpuid), SampleRecords.Web);
        }

        File.Delete(SocketPath);
        using var journal = Datagrams.Listen(SocketPath);
        sink.Write(SampleRecords.Allowed(VmEventReason.Cpuid, sequence: 9), SampleRecords.Web);
        Assert.Equal("9", Entry(Datagrams.Receive(journal))["INTROSPECT_SEQUENCE"]);
    }

    // The protocol as its receiver reads it.
    private static Dictionary<string, string> Entry(byte[] datagram)
    {
        var fields = new Dictionary<string, string>();
        for (var at = 0; at < datagram.Length;)
        {
            var end = at + datagram.AsSpan(at).IndexOfAny((byte)'=', (byte)'\n');
            var name = Encoding.UTF8.GetString(datagram, at, end - at);
            int from, length;
            if (datagram[end] == '=')
            {
                from = end + 1;
                length = datagram.AsSpan(from).IndexOf((byte)'\n');
            }
            else
            {
                from = end + 1 + sizeof(long);
                length = (int)BinaryPrimitives.ReadInt64LittleEndian(datagram.AsSpan(end + 1));
            }

            fields.Add(name, Encoding.UTF8.GetString(datagram, from, length));
            Assert.Equal((byte)'\n', datagram[from + length]);
            at = from + length + 1;
        }

        return fields;
    }
}

/// <summary>A socket of the test's own that datagrams arrive at.</summary>
internal static class Datagrams
{
    public static Socket Listen(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified) { ReceiveTimeout = 30_000 };
        socket.Bind(new UnixDomainSocketEndPoint(path));
        return socket;
    }

    public static byte[] Receive(Socket socket)
    {
        var buffer = new byte[1 << 16];
        return buffer[..socket.Receive(buffer)];
    }
}
