using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Core.Host;

/// <summary>
/// Lets other processes operate the domains of this one: listens on a unix socket, runs the toolstack operations
/// that come, and hands out guest memory and event channels as descriptors. A client has a thread of its own, so
/// one that hangs or lies holds up nobody else; when it goes, its mappings and event channels go with it, and
/// the domains stay as they are, paused vCPUs included. What a client sends over the socket cannot hurt the host;
/// the memory and the eventfds that it is handed are shared in earnest, which is why only the owner gets them.
/// </summary>
internal sealed class HostServer : IDisposable
{
    /// <summary>Most clients at a time.</summary>
    public const int DefaultMaxClients = 64;

    private const uint OwnerOnly = 0x180;

    private static readonly TimeSpan SendTimeout = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan LockPatience = TimeSpan.FromSeconds(5);

    private readonly IToolstack _toolstack;
    private readonly IDescriptorSource _descriptors;
    private readonly Func<PeerCredentials, bool> _permits;
    private readonly ILabControl? _lab;
    private readonly Action<string> _log;
    private readonly int _maxClients;
    private readonly UnixSocket _listener;
    private readonly FileIdentity? _socketFile;
    private readonly Doorbells _doorbells;
    private readonly Thread _acceptor;
    private readonly Lock _gate = new();
    private readonly HashSet<HostSession> _sessions = [];
    private readonly HashSet<uint> _refusedUsers = [];
    private bool _stopping;
    private bool _disposed;

    /// <summary>Starts listening.</summary>
    /// <param name="path">Where; a socket that a dead host left there is removed.</param>
    /// <param name="toolstack">Who runs the operations; it is called from several threads, and stays its owner's.</param>
    /// <param name="descriptors">Who tells the descriptors behind memory and channels.</param>
    /// <param name="log">Told, in one line each, what went wrong with a client.</param>
    /// <param name="permits">Who may control the domains; by default this process's user and root.</param>
    /// <param name="maxClients">Most clients at a time.</param>
    /// <param name="lab">Who keeps whole domains; null: nobody, and clients that ask get ENOSYS.</param>
    /// <exception cref="HypervisorException">EADDRINUSE: a host runs there already, or something that is no socket is in the way.</exception>
    public HostServer(
        string path,
        IToolstack toolstack,
        IDescriptorSource descriptors,
        Action<string> log,
        Func<PeerCredentials, bool>? permits = null,
        int maxClients = DefaultMaxClients,
        ILabControl? lab = null)
    {
        _lab = lab;
        Path = path;
        _toolstack = toolstack;
        _descriptors = descriptors;
        _log = log;
        _permits = permits ?? (static peer => OwnerOrRoot(peer, UnixSocket.EffectiveUser));
        _maxClients = maxClients;
        (_listener, _socketFile) = Listen(path);
        _doorbells = new(log);
        _acceptor = new Thread(AcceptClients) { IsBackground = true, Name = "introspect host" };
        _acceptor.Start();
    }

    /// <summary>Where clients connect.</summary>
    public string Path { get; }

    /// <summary>Clients connected now.</summary>
    public int ClientCount
    {
        get
        {
            lock (_gate)
            {
                return _sessions.Count;
            }
        }
    }

    /// <summary>The rule of who may control domains: their owner, and root.</summary>
    public static bool OwnerOrRoot(PeerCredentials peer, uint owner) => peer.Uid == owner || peer.Uid == 0;

    /// <summary>
    /// Lets nobody in any more where nobody is needed: at once with the look at who is there, so that a newcomer is either
    /// seen or finds no host. The socket file goes first, so that who was not let in finds the path free for another host.
    /// </summary>
    /// <param name="isNeeded">Something else than a client needs the host.</param>
    /// <returns>False: somebody is connected, or the host is needed.</returns>
    public bool TryClose(Func<bool> isNeeded)
    {
        lock (_gate)
        {
            if (!_stopping && (_sessions.Count != 0 || isNeeded()))
            {
                return false;
            }

            StopListening();
            return true;
        }
    }

    /// <summary>Disconnects every client and stops listening. The domains stay as they are.</summary>
    public void Dispose()
    {
        HostSession[] sessions;
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            StopListening();
            sessions = [.. _sessions];
        }

        _acceptor.Join();
        foreach (var session in sessions)
        {
            session.Disconnect();
        }

        foreach (var session in sessions)
        {
            session.Dispose();
        }

        _doorbells.Dispose();
        _listener.Dispose();
    }

    // Under the gate. In this order: while it listens, no other host takes the path for abandoned.
    private void StopListening()
    {
        if (_stopping)
        {
            return;
        }

        RemoveSocketFile();
        _stopping = true;
        _listener.Shutdown();
    }

    // Only its own: where somebody removed that, another host may listen at the path by now.
    private void RemoveSocketFile()
    {
        try
        {
            using var folder = LockFolder(Path);
            if (_socketFile is { } own && FileIdentity.Of(Path) == own)
            {
                File.Delete(Path);
            }
        }
        catch (Exception failure) when (failure is HypervisorException or IOException or UnauthorizedAccessException)
        {
            _log($"the socket '{Path}' could not be removed: {failure.Message}");
        }
    }

    private static FolderLock LockFolder(string path) =>
        FolderLock.Take(System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path))!, LockPatience);

    private static (UnixSocket Listener, FileIdentity? File) Listen(string path)
    {
        // Of two that find an abandoned socket, or one that does not listen yet, one would remove the other's.
        using var folder = LockFolder(path);
        if (UnixSocket.IsSocket(path))
        {
            RemoveIfAbandoned(path);
        }

        // The peer's credentials are what counts; the mode keeps others from knocking at all.
        var listener = UnixSocket.Listen(path, backlog: 16, OwnerOnly);
        return (listener, FileIdentity.Of(path));
    }

    private static void RemoveIfAbandoned(string path)
    {
        try
        {
            UnixSocket.Connect(path).Dispose();
        }
        catch (HypervisorException refused) when (refused.Error == Errno.ECONNREFUSED)
        {
            File.Delete(path);
            return;
        }

        throw new HypervisorException(Errno.EADDRINUSE, $"a host listens at '{path}' already: stop it or choose another path");
    }

    private void AcceptClients()
    {
        while (true)
        {
            UnixSocket? socket;
            try
            {
                socket = _listener.Accept();
            }
            catch (HypervisorException failure)
            {
                // Out of descriptors or memory: those who are connected go on, and newcomers wait.
                _log($"a client could not be accepted: {failure.Message}");
                Thread.Sleep(TimeSpan.FromMilliseconds(100));
                continue;
            }

            if (socket is null)
            {
                return;
            }

            try
            {
                Welcome(socket);
            }
            catch (HypervisorException gone)
            {
                socket.Dispose();
                _log($"a client went away while it was greeted: {gone.Message}");
            }
        }
    }

    private void Welcome(UnixSocket socket)
    {
        socket.SetSendTimeout(SendTimeout);
        var peer = socket.GetPeer();
        if (!_permits(peer))
        {
            if (_refusedUsers.Add(peer.Uid))
            {
                _log($"user {peer.Uid} (process {peer.Pid}) may not control the domains of user {UnixSocket.EffectiveUser}; refused, and not told again");
            }

            Refuse(socket, Errno.EPERM);
            return;
        }

        var session = new HostSession(socket, peer, _toolstack, _descriptors, _doorbells, _log, Forget, _lab);
        lock (_gate)
        {
            if (!_stopping && _sessions.Count < _maxClients)
            {
                _sessions.Add(session);
                session.Start();
                return;
            }

            if (_stopping)
            {
                // No host is here any more: not even one that refuses.
                socket.Dispose();
                return;
            }
        }

        _log($"process {peer.Pid} was refused: {_maxClients} clients are connected already");
        Refuse(socket, Errno.EBUSY);
    }

    private static void Refuse(UnixSocket socket, Errno error)
    {
        Span<byte> greeting = stackalloc byte[HostProtocol.GreetingBytes];
        HostProtocol.WriteGreeting(greeting, -(int)error);
        socket.Send(greeting);
        socket.Dispose();
    }

    private void Forget(HostSession session)
    {
        lock (_gate)
        {
            _sessions.Remove(session);
        }
    }
}
