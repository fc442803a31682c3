using System.Buffers.Binary;
using System.Text;

namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>
/// What a domain is to the store, as it is saved with it: nodes, watches, the numbers of open transactions (which end with
/// EAGAIN), the beginning of a request, and answers that wait. The number it had then is in it; paths follow the new one.
/// </summary>
internal sealed class StoreState
{
    private const ushort Version = 1;

    // A guest's own, and what a toolstack gave it.
    private const int MostNodes = 4 * StoreQuota.Nodes;

    private ushort _domain;
    private StoreFault _fault;
    private uint _nextTransaction;
    private uint[] _transactions = [];
    private byte[] _input = [];
    private byte[] _output = [];
    private List<StoreWatch> _watches = [];
    private List<(string Path, StoreNode Node)> _nodes = [];

    /// <summary>The state of a connection, under the store's lock.</summary>
    public static StoreState Of(StoreTree tree, StoreConnection connection)
    {
        var state = new StoreState
        {
            _domain = connection.Domain,
            _fault = connection.Fault,
            _nextTransaction = connection.NextTransaction,
            _transactions = [.. connection.Transactions.Select(static open => open.Id)],
            _input = connection.Input.ToArray(),
            _output = connection.Output.ToBytes(),
            _watches = [.. connection.Watches],
        };
        var paths = new List<string> { connection.Home };
        for (var n = 0; n < paths.Count; n++)
        {
            // What other guests made there is theirs, and stays with them.
            if (tree.Find(paths[n]) is { } node && (node.Owner == connection.Domain || node.Owner == StoreCaller.Toolstack.Domain))
            {
                state._nodes.Add((paths[n], node));
                paths.AddRange(node.Children.Select(child => StorePath.Below(paths[n], child)));
            }
        }

        return state;
    }

    /// <summary>The state as bytes: little-endian numbers, texts and lists behind their lengths.</summary>
    public byte[] ToBytes()
    {
        using var bytes = new MemoryStream();
        using var writer = new BinaryWriter(bytes, Encoding.Latin1);
        writer.Write(Version);
        writer.Write(_domain);
        writer.Write((uint)_fault);
        writer.Write(_nextTransaction);
        writer.Write(_transactions.Length);
        Array.ForEach(_transactions, writer.Write);
        Blob(writer, _input);
        Blob(writer, _output);
        writer.Write(_watches.Count);
        foreach (var watch in _watches)
        {
            Blob(writer, Encoding.Latin1.GetBytes(watch.Path));
            Blob(writer, Encoding.Latin1.GetBytes(watch.Token));
            writer.Write(watch.HomeLength != 0 ? 1 : 0);
            writer.Write(watch.Depth);
        }

        writer.Write(_nodes.Count);
        foreach (var (path, node) in _nodes)
        {
            Blob(writer, Encoding.ASCII.GetBytes(path));
            Blob(writer, StorePermission.ToBytes(node.Permissions));
            Blob(writer, node.Value);
        }

        writer.Flush();
        return bytes.ToArray();
    }

    /// <summary>Reads a state, of which nothing is believed.</summary>
    /// <returns>False: no domain can have been in this state.</returns>
    public static bool TryParse(ReadOnlySpan<byte> bytes, out StoreState state)
    {
        state = new StoreState();
        var reader = new Reader { Rest = bytes };
        if (reader.Half() != Version)
        {
            return false;
        }

        state._domain = reader.Half();
        state._fault = (StoreFault)reader.Word();
        state._nextTransaction = reader.Word();
        state._transactions = new uint[reader.Count(StoreQuota.Transactions)];
        for (var n = 0; n < state._transactions.Length; n++)
        {
            state._transactions[n] = reader.Word();
        }

        state._input = reader.Blob(StoreHeader.SizeInBytes + StoreWire.MostPayload);
        state._output = reader.Blob(2 * StoreQuota.Unread);
        for (var left = reader.Count(StoreQuota.Watches); left > 0 && !reader.IsBad; left--)
        {
            state.ParseWatch(ref reader);
        }

        for (var left = reader.Count(MostNodes); left > 0 && !reader.IsBad; left--)
        {
            state.ParseNode(ref reader);
        }

        return !reader.IsBad && reader.Rest.IsEmpty && StoreConnection.IsBeginning(state._input)
            && state._fault is StoreFault.None or StoreFault.RingIndex or StoreFault.Protocol
            && state._transactions.Distinct().Count() == state._transactions.Length && !state._transactions.Contains(0u);
    }

    /// <summary>Gives it to a connection, under the store's lock. Its domain has no nodes yet.</summary>
    public void Apply(XenStore store, StoreConnection connection)
    {
        StoreOperations.Remove(store.Tree, StoreCaller.Toolstack, connection.Home);
        foreach (var (path, node) in _nodes)
        {
            var now = Move(path, connection);
            StoreOperations.Write(store.Tree, StoreCaller.Toolstack, now, node.Value);
            StoreOperations.SetPermissions(store.Tree, StoreCaller.Toolstack, now, Move(node.Permissions, connection.Domain));
        }

        foreach (var watch in _watches)
        {
            connection.Watches.Add(watch with
            {
                Path = Move(watch.Path, connection),
                HomeLength = watch.HomeLength == 0 ? 0 : connection.Home.Length + 1,
            });
        }

        connection.NextTransaction = _nextTransaction;
        foreach (var id in _transactions)
        {
            connection.Transactions.Add(new StoreTransaction(store.Tree, id) { IsLost = true });
        }

        connection.Resume(_input, _output, _fault);
    }

    private string Move(string path, StoreConnection connection)
    {
        var before = StorePath.Of(_domain);
        return StorePath.IsAtOrBelow(path, before) ? connection.Home + path[before.Length..] : path;
    }

    // What other domains might do was of another machine, or another time.
    private StorePermission[] Move(StorePermission[] permissions, ushort domain)
    {
        var moved = new List<StorePermission>();
        foreach (var entry in permissions)
        {
            if (entry.Domain == _domain)
            {
                moved.Add(entry with { Domain = domain });
            }
            else if (entry.Domain == StoreCaller.Toolstack.Domain || moved.Count == 0)
            {
                moved.Add(entry with { Domain = StoreCaller.Toolstack.Domain });
            }
        }

        return [.. moved];
    }

    private void ParseWatch(ref Reader reader)
    {
        var path = reader.Blob(StorePath.MostAbsolute);
        var token = reader.Blob(StoreWire.MostPayload);
        var isRelative = reader.Word() != 0;
        var depth = (int)reader.Word();
        var home = StorePath.Of(_domain);
        if (reader.IsBad || depth < -1 || token.Contains((byte)0) || path is not [(byte)'/' or (byte)'@', ..] || path.Contains((byte)0)
            || !StorePath.TryResolveWatched(path, home, out var whole)
            || (isRelative && StorePath.LevelsBelow(whole, home) < 1))
        {
            reader.IsBad = true;
            return;
        }

        _watches.Add(new(whole, Encoding.Latin1.GetString(token), isRelative ? home.Length + 1 : 0, depth));
    }

    private void ParseNode(ref Reader reader)
    {
        var path = reader.Blob(StorePath.MostAbsolute);
        var list = reader.Blob(StoreWire.MostPayload);
        var value = reader.Blob(StoreWire.MostPayload);
        var home = StorePath.Of(_domain);
        var permissions = new List<StorePermission>();
        foreach (var part in Encoding.Latin1.GetString(list).Split('\0', StringSplitOptions.RemoveEmptyEntries))
        {
            reader.IsBad |= !StorePermission.TryParse(Encoding.Latin1.GetBytes(part), out var entry);
            permissions.Add(entry);
        }

        if (reader.IsBad || permissions.Count is 0 or > StoreQuota.Permissions || path is not [(byte)'/', ..]
            || !StorePath.TryResolve(path, home, out var whole) || !StorePath.IsAtOrBelow(whole, home))
        {
            reader.IsBad = true;
            return;
        }

        _nodes.Add((whole, new(value, [.. permissions], [])));
    }

    private static void Blob(BinaryWriter writer, byte[] bytes)
    {
        writer.Write(bytes.Length);
        writer.Write(bytes);
    }

    /// <summary>Reads what somebody may have altered: what is not there is 0, and noticed.</summary>
    private ref struct Reader
    {
        public ReadOnlySpan<byte> Rest;
        public bool IsBad;

        public ushort Half() => Take(sizeof(ushort)) is { Length: > 0 } bytes ? BinaryPrimitives.ReadUInt16LittleEndian(bytes) : (ushort)0;

        public uint Word() => Take(sizeof(uint)) is { Length: > 0 } bytes ? BinaryPrimitives.ReadUInt32LittleEndian(bytes) : 0;

        public int Count(int most)
        {
            var count = Word();
            IsBad |= count > most;
            return IsBad ? 0 : (int)count;
        }

        public byte[] Blob(int most) => Take(Count(most)).ToArray();

        private ReadOnlySpan<byte> Take(int length)
        {
            IsBad |= length > Rest.Length;
            if (IsBad)
            {
                return default;
            }

            var taken = Rest[..length];
            Rest = Rest[length..];
            return taken;
        }
    }
}
