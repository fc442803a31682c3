using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Introspect.Daemon.Cli;

namespace Introspect.Daemon.Control;

/// <summary>Asks a running service, by its control socket.</summary>
internal sealed class ControlClient : IDisposable
{
    private readonly string _path;
    private readonly Socket _socket;
    private readonly StreamReader _reader;

    private ControlClient(string path, Socket socket) =>
        (_path, _socket, _reader) = (path, socket, new StreamReader(new NetworkStream(socket, ownsSocket: true), Encoding.UTF8));

    /// <summary>Connects.</summary>
    /// <exception cref="UserError">No service listens there, or it may not be asked.</exception>
    public static async Task<ControlClient> ConnectAsync(string path, CancellationToken cancellationToken)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellationToken).ConfigureAwait(false);
            return new(path, socket);
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            socket.Dispose();
            throw UserError.Failure((e as SocketException)?.SocketErrorCode == SocketError.AccessDenied
                ? $"--socket '{path}': this user may not control the service; be root, or in the group that control.group names"
                : $"--socket '{path}': no service listens there; start 'introspect run', or give the path of its control.socket", e);
        }
    }

    /// <summary>Asks, and waits for the answer.</summary>
    /// <exception cref="UserError">The service refused, or went away.</exception>
    public async Task<ControlResponse> AskAsync(string op, CancellationToken cancellationToken)
    {
        try
        {
            var text = JsonSerializer.Serialize(new ControlRequest { Version = ControlProtocol.Version, Op = op }, ControlJson.Default.ControlRequest);
            await _reader.BaseStream.WriteAsync(Encoding.UTF8.GetBytes(text + "\n"), cancellationToken).ConfigureAwait(false);
            if (await _reader.ReadLineAsync(cancellationToken).ConfigureAwait(false) is { } line
                && JsonSerializer.Deserialize(line, ControlJson.Default.ControlResponse) is { } response)
            {
                return response;
            }
        }
        catch (Exception e) when (e is IOException or JsonException)
        {
            throw UserError.Failure($"--socket '{_path}': the service does not answer: {e.Message}", e);
        }

        throw UserError.Failure($"--socket '{_path}': the service went away");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _reader.Dispose();
        _socket.Dispose();
    }
}
