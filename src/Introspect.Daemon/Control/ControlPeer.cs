using System.Net.Sockets;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Linux;

namespace Introspect.Daemon.Control;

/// <summary>Who is at the other end of a unix socket, as the kernel says it.</summary>
/// <param name="User">User number.</param>
/// <param name="Groups">Group numbers.</param>
internal sealed record ControlPeer(uint User, IReadOnlyList<uint> Groups)
{
    private const int SolSocket = 1;
    private const int SoPeerCred = 17;
    private const int SoPeerGroups = 59;
    private const int MostGroups = 1024;

    /// <summary>Asks the kernel.</summary>
    /// <exception cref="SocketException">It does not say.</exception>
    public static ControlPeer Of(Socket socket)
    {
        // struct ucred: process, user, group.
        Span<byte> credentials = stackalloc byte[12];
        socket.GetRawSocketOption(SolSocket, SoPeerCred, credentials);
        var numbers = MemoryMarshal.Cast<byte, uint>(credentials);
        var groups = new List<uint> { numbers[2] };
        try
        {
            var more = new byte[MostGroups * sizeof(uint)];
            var length = socket.GetRawSocketOption(SolSocket, SoPeerGroups, more);
            groups.AddRange(MemoryMarshal.Cast<byte, uint>(more.AsSpan(0, length)));
        }
        catch (SocketException)
        {
            // Before Linux 4.13, or too many: its first group alone counts.
        }

        return new(numbers[1], groups);
    }

    /// <summary>True for root, for who runs the service, and for members of a group.</summary>
    public bool MayControl(uint? group) => User == 0 || User == FileOwner.CurrentUser || (group is { } wanted && Groups.Contains(wanted));
}
