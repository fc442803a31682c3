using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace Introspect.Daemon.Tests.Soak;

/// <summary>A collector that comes and goes, and remembers which events it took.</summary>
internal sealed class ComingAndGoingCollector : IAsyncDisposable
{
    private readonly byte[] _buffer = new byte[8 << 20];
    private WebApplication? _application;

    public EventLedger Ledger { get; } = new();

    public int Port { get; private set; }

    /// <summary>How often it came.</summary>
    public int Starts { get; private set; }

    public async Task ToggleAsync()
    {
        if (_application is null)
        {
            await StartAsync();
        }
        else
        {
            await DisposeAsync();
        }
    }

    public async Task StartAsync()
    {
        if (_application is not null)
        {
            return;
        }

        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, Port));
        builder.WebHost.UseShutdownTimeout(TimeSpan.Zero);
        _application = builder.Build();
        _application.Run(AnswerAsync);
        await _application.StartAsync();
        Port = new Uri(_application.Urls.First()).Port;
        Starts++;
    }

    public async ValueTask DisposeAsync()
    {
        if (_application is { } application)
        {
            _application = null;
            await application.StopAsync();
            await application.DisposeAsync();
        }
    }

    private async Task AnswerAsync(HttpContext context)
    {
        if (context.Request.Path == "/v1/logs")
        {
            // The sink sends one request at a time; the metrics go elsewhere.
            var length = 0;
            for (int read; (read = await context.Request.Body.ReadAsync(_buffer.AsMemory(length))) != 0;)
            {
                length += read;
            }

            Ledger.Read(_buffer.AsSpan(0, length));
        }

        context.Response.ContentType = "application/x-protobuf";
    }
}

/// <summary>A syslog socket that comes and goes.</summary>
internal sealed class ComingAndGoingSyslog(string path) : IDisposable
{
    private Socket? _socket;
    private long _messages;

    public string Path => path;

    /// <summary>Messages that it read.</summary>
    public long Messages => Volatile.Read(ref _messages);

    public void Toggle()
    {
        if (_socket is not null)
        {
            Dispose();
            return;
        }

        var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(path));
        _socket = socket;
        new Thread(() => Read(socket)) { IsBackground = true, Name = "syslog" }.Start();
    }

    public void Dispose()
    {
        _socket?.Dispose();
        _socket = null;
        File.Delete(path);
    }

    private void Read(Socket socket)
    {
        var buffer = new byte[1 << 16];
        try
        {
            while (socket.Receive(buffer) > 0)
            {
                Interlocked.Increment(ref _messages);
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // It went.
        }
    }
}
