using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Introspect.Daemon.Tests.Sinks;

/// <summary>A collector of the OpenTelemetry protocol that keeps what it is sent, over HTTP or gRPC.</summary>
internal sealed class Collector : IAsyncDisposable
{
    private readonly WebApplication _application;
    private readonly bool _grpc;

    private Collector(int port, bool grpc)
    {
        _grpc = grpc;
        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
            kestrel.Listen(IPAddress.Loopback, port, listen => listen.Protocols = grpc ? HttpProtocols.Http2 : HttpProtocols.Http1));
        _application = builder.Build();
        _application.Run(AnswerAsync);
    }

    public bool IsGrpc => _grpc;

    public Uri Endpoint { get; private set; } = null!;

    /// <summary>Requests, in the order of their arrival: path, headers and the message.</summary>
    public ConcurrentQueue<(string Path, string? Key, Proto Message)> Requests { get; } = new();

    /// <summary>What the next requests are answered with, one each: an HTTP status, or with gRPC its status; then all is well.</summary>
    public ConcurrentQueue<int> Answers { get; } = new();

    /// <summary>How many records each answer rejects.</summary>
    public int Rejected { get; set; }

    public IEnumerable<Proto> LogRecords => Requests.SelectMany(r => r.Message.Messages(1)).SelectMany(r => r.Messages(2)).SelectMany(s => s.Messages(2));

    public static async Task<Collector> StartAsync(bool grpc = false, int port = 0, params int[] answers)
    {
        var collector = new Collector(port, grpc);
        foreach (var answer in answers)
        {
            collector.Answers.Enqueue(answer);
        }

        await collector._application.StartAsync();
        collector.Endpoint = new(collector._application.Urls.First());
        return collector;
    }

    public async ValueTask DisposeAsync()
    {
        await _application.StopAsync();
        await _application.DisposeAsync();
    }

    private async Task AnswerAsync(HttpContext context)
    {
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body);
        var bytes = body.ToArray();
        var status = Answers.TryDequeue(out var answer) ? answer : _grpc ? 0 : 200;
        if (_grpc)
        {
            Assert.Equal("application/grpc", context.Request.ContentType);
            Assert.Equal(bytes.Length - 5, BinaryPrimitives.ReadInt32BigEndian(bytes.AsSpan(1)));
            bytes = bytes[5..];
        }
        else
        {
            Assert.Equal("application/x-protobuf", context.Request.ContentType);
        }

        if (status is 0 or 200)
        {
            Requests.Enqueue((context.Request.Path, context.Request.Headers["x-key"], new(bytes)));
        }

        byte[] message = Rejected == 0 ? [] : [0x0a, 2, 0x08, (byte)Rejected];
        if (_grpc)
        {
            context.Response.ContentType = "application/grpc";
            if (status == 0)
            {
                await context.Response.Body.WriteAsync((byte[])[0, 0, 0, 0, (byte)message.Length, .. message]);
                context.Response.AppendTrailer("grpc-status", "0");
            }
            else
            {
                context.Response.Headers["grpc-status"] = status.ToString(CultureInfo.InvariantCulture);
                context.Response.Headers["grpc-message"] = "not%20now";
            }

            return;
        }

        context.Response.StatusCode = status;
        context.Response.ContentType = "application/x-protobuf";
        await context.Response.Body.WriteAsync(message);
    }
}

/// <summary>A message of Protocol Buffers, taken apart without its schema.</summary>
internal sealed class Proto
{
    private readonly List<(int Number, ulong Value, byte[] Bytes)> _fields = [];

    public Proto(ReadOnlySpan<byte> message)
    {
        while (message.Length != 0)
        {
            var key = Varint(ref message);
            var (number, kind) = ((int)(key >> 3), (int)(key & 7));
            switch (kind)
            {
                case 0:
                    _fields.Add((number, Varint(ref message), []));
                    break;
                case 1:
                    _fields.Add((number, BinaryPrimitives.ReadUInt64LittleEndian(message), []));
                    message = message[8..];
                    break;
                case 2:
                    var length = (int)Varint(ref message);
                    _fields.Add((number, 0, message[..length].ToArray()));
                    message = message[length..];
                    break;
                case 5:
                    _fields.Add((number, BinaryPrimitives.ReadUInt32LittleEndian(message), []));
                    message = message[4..];
                    break;
                default:
                    Assert.Fail($"field {number} is of kind {kind}");
                    break;
            }
        }
    }

    public IEnumerable<Proto> Messages(int number) => _fields.Where(f => f.Number == number).Select(f => new Proto(f.Bytes));

    public string Text(int number) => Encoding.UTF8.GetString(Assert.Single(_fields, f => f.Number == number).Bytes);

    public ulong Number(int number) => Assert.Single(_fields, f => f.Number == number).Value;

    public string Hex(int number) => Convert.ToHexString(Assert.Single(_fields, f => f.Number == number).Bytes);

    public bool Has(int number) => _fields.Exists(f => f.Number == number);

    /// <summary>KeyValue messages as a dictionary: strings as they are, integers in digits.</summary>
    public Dictionary<string, string> Attributes(int number) => Messages(number).ToDictionary(
        pair => pair.Text(1),
        pair => pair.Messages(2).Single() is var value && value.Has(1) ? value.Text(1) : value.Number(3).ToString(CultureInfo.InvariantCulture));

    private static ulong Varint(ref ReadOnlySpan<byte> message)
    {
        ulong value = 0;
        for (var shift = 0; ; shift += 7)
        {
            var next = message[0];
            message = message[1..];
            value |= (ulong)(next & 0x7f) << shift;
            if (next < 0x80)
            {
                return value;
            }
        }
    }
}
