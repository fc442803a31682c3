using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Service;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Linux;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Control;

/// <summary>
/// Answers at the control socket, to root, to the service's own user and to a group that the configuration names; the
/// kernel says who it is.
/// </summary>
internal sealed class ControlServer(ControlOptions options, Reloader reloader, StatusSource status, ILogger<ControlServer> logger) : IHostedService, IDisposable
{
    private const int MaxConnections = 16;
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const UnixFileMode OwnerAndGroup = OwnerOnly | UnixFileMode.GroupRead | UnixFileMode.GroupWrite;

    // Somebody who asks and does not read is not waited for.
    private static readonly TimeSpan SendTimeout = TimeSpan.FromSeconds(10);

    private readonly CancellationTokenSource _stopping = new();
    private readonly SemaphoreSlim _room = new(MaxConnections);
    private Socket? _listener;
    private uint? _group;
    private Task _accepting = Task.CompletedTask;

    /// <summary>True when it listens.</summary>
    public bool IsListening => _listener is not null;

    /// <inheritdoc/>
    public Task StartAsync(CancellationToken cancellationToken)
    {
        if (options.Socket is not { } path)
        {
            return Task.CompletedTask;
        }

        _group = options.Group is { } group ? FindGroup(group) : null;
        try
        {
            _listener = Listen(path, _group);
        }
        catch (Exception e) when (e is SocketException or IOException or UnauthorizedAccessException or HypervisorException && options.IsDefault)
        {
            // Nobody asked for it by name; a service that watches and cannot be told to reload is better than none.
            Log.ControlUnavailable(logger, path, UserError.OneLine(e.Message));
            return Task.CompletedTask;
        }
        catch (Exception e) when (e is SocketException or IOException or UnauthorizedAccessException or HypervisorException)
        {
            throw UserError.Failure($"control.socket '{path}': {e.Message}; name a path in a directory that the service may write, or off", e);
        }

        Log.ControlServed(logger, path);
        _accepting = AcceptAsync(_listener);
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        if (_listener is not null)
        {
            _listener.Dispose();
            File.Delete(options.Socket!);
        }

        await _accepting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _listener?.Dispose();
        _stopping.Dispose();
        _room.Dispose();
    }

    private static Socket Listen(string path, uint? group)
    {
        RemoveStale(path);
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            // Whoever connects needs the right to write, which a new socket gives to no others under any usual umask; and
            // who connects nevertheless is asked for.
            listener.Bind(new UnixDomainSocketEndPoint(path));
            File.SetUnixFileMode(path, OwnerOnly);
            if (group is { } number)
            {
                FileOwner.SetGroup(path, number);
                File.SetUnixFileMode(path, OwnerAndGroup);
            }

            listener.Listen(MaxConnections);
            return listener;
        }
        catch
        {
            listener.Dispose();
            throw;
        }
    }

    // What a service left that was killed.
    private static void RemoveStale(string path)
    {
        if (!File.Exists(path))
        {
            return;
        }

        if (CanBeOpened(path))
        {
            throw new IOException("a file is there that is no socket");
        }

        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused)
        {
            File.Delete(path);
            return;
        }

        throw new IOException("another service listens there");
    }

    // Which a socket cannot.
    private static bool CanBeOpened(string path)
    {
        try
        {
            File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete).Dispose();
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static uint FindGroup(string group)
    {
        if (uint.TryParse(group, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
        {
            return number;
        }

        var fields = File.ReadLines("/etc/group").Select(line => line.Split(':')).FirstOrDefault(fields => fields.Length > 2 && fields[0] == group);
        return fields is not null && uint.TryParse(fields[2], NumberStyles.None, CultureInfo.InvariantCulture, out number)
            ? number
            : throw UserError.Failure($"control.group '{group}': there is no such group in /etc/group; make it, or give its number");
    }

    private async Task AcceptAsync(Socket listener)
    {
        while (!_stopping.IsCancellationRequested)
        {
            try
            {
                await _room.WaitAsync(_stopping.Token).ConfigureAwait(false);
                var peer = await listener.AcceptAsync(_stopping.Token).ConfigureAwait(false);
                _ = ServeAsync(peer);
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
            {
                return;
            }
            catch (SocketException)
            {
                // It hung up before it was taken.
                _room.Release();
            }
        }
    }

    private async Task ServeAsync(Socket peer)
    {
        try
        {
            using (peer)
            {
                var who = ControlPeer.Of(peer);
                var stream = new NetworkStream(peer, ownsSocket: false);
                await using (stream.ConfigureAwait(false))
                {
                    if (!who.MayControl(_group))
                    {
                        Log.ControlRefused(logger, who.User);
                        await SendAsync(stream, ControlResponse.Refuse($"user {who.User} may not control the service: be root, or in the group that control.group names")).ConfigureAwait(false);
                        return;
                    }

                    await AnswerAsync(stream).ConfigureAwait(false);
                }
            }
        }
        catch (Exception e) when (e is IOException or SocketException or OperationCanceledException or ObjectDisposedException)
        {
            // It hung up, or the service stops.
        }
        finally
        {
            _room.Release();
        }
    }

    private async Task AnswerAsync(NetworkStream stream)
    {
        var line = new byte[ControlProtocol.LongestRequest];
        var length = 0;
        while (true)
        {
            var end = Array.IndexOf(line, (byte)'\n', 0, length);
            if (end < 0)
            {
                if (length == line.Length)
                {
                    await SendAsync(stream, ControlResponse.Refuse($"a line of more than {ControlProtocol.LongestRequest} bytes")).ConfigureAwait(false);
                    return;
                }

                var read = await stream.ReadAsync(line.AsMemory(length), _stopping.Token).ConfigureAwait(false);
                if (read == 0)
                {
                    return;
                }

                length += read;
                continue;
            }

            var response = await HandleAsync(line.AsMemory(0, end)).ConfigureAwait(false);
            line.AsSpan((end + 1)..length).CopyTo(line);
            length -= end + 1;
            await SendAsync(stream, response).ConfigureAwait(false);
        }
    }

    private async Task<ControlResponse> HandleAsync(ReadOnlyMemory<byte> line)
    {
        ControlRequest? request;
        try
        {
            request = JsonSerializer.Deserialize(line.Span, ControlJson.Default.ControlRequest);
        }
        catch (JsonException)
        {
            return ControlResponse.Refuse("not a line of JSON");
        }

        if (request?.Version != ControlProtocol.Version)
        {
            return ControlResponse.Refuse($"version {request?.Version ?? 0} of the protocol is asked, the service speaks {ControlProtocol.Version}; use the program of its version");
        }

        switch (request.Op)
        {
            case ControlProtocol.Reload:
                var report = await reloader.ReloadAsync("the control socket").ConfigureAwait(false);
                return report.Mistakes.Count != 0
                    ? ControlResponse.Refuse(report.Mistakes)
                    : new() { Ok = true, Reload = new(report.Policies, report.Changed, report.NeedRestart) };
            case ControlProtocol.Status:
                return new() { Ok = true, Status = status.Read() };
            default:
                return ControlResponse.Refuse($"'{request.Op}' is not known; known are {ControlProtocol.Reload} and {ControlProtocol.Status}");
        }
    }

    private async Task SendAsync(NetworkStream stream, ControlResponse response)
    {
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(_stopping.Token);
        timeout.CancelAfter(SendTimeout);
        var text = JsonSerializer.Serialize(response, ControlJson.Default.ControlResponse);
        await stream.WriteAsync(Encoding.UTF8.GetBytes(text + "\n"), timeout.Token).ConfigureAwait(false);
    }
}
