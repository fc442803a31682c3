using System.Buffers.Binary;
using System.Text;
using Introspect.Hypervisor.Core.Xenstore;

namespace Introspect.Hypervisor.Tests.Xenstore;

/// <summary>A store with guests in it that say what tests say.</summary>
internal sealed class StoreBench
{
    public XenStore Store { get; } = new();

    /// <summary>A guest that is introduced.</summary>
    public StoreGuest Guest(ushort domain, string name = "guest") => new(Store, domain, name);
}

/// <summary>A guest's side of the ring, written apart from the store's.</summary>
internal sealed class StoreGuest : IStoreLink
{
    public const int RequestConsumer = 2048;
    public const int RequestProducer = 2052;
    public const int ResponseConsumer = 2056;
    public const int ResponseProducer = 2060;
    public const int Features = 2064;
    public const int Connection = 2068;
    public const int Error = 2072;

    private const int Ring = 1024;

    private readonly XenStore _store;
    private readonly byte[] _page = new byte[4096];
    private readonly List<byte> _received = [];
    private uint _lastRequest;

    public StoreGuest(XenStore store, ushort domain, string name, StoreState? saved = null, uint start = 0)
    {
        (_store, Domain) = (store, domain);
        foreach (var field in (int[])[RequestConsumer, RequestProducer, ResponseConsumer, ResponseProducer])
        {
            this[field] = start;
        }

        store.Introduce(Identity(name), this, saved);
    }

    /// <summary>A guest that was restored, with its memory.</summary>
    public StoreGuest(XenStore store, ushort domain, string name, StoreState saved, byte[] page)
    {
        (_store, Domain) = (store, domain);
        page.CopyTo(_page, 0);
        store.Introduce(Identity(name), this, saved);
    }

    public ushort Domain { get; }

    /// <summary>Events that came.</summary>
    public int Signals { get; private set; }

    public bool IsStill { get; set; }

    /// <summary>What came without being asked for: path and token of each.</summary>
    public List<(string Path, string Token)> Events { get; } = [];

    public Span<byte> Page => _page;

    public uint this[int field]
    {
        get => BinaryPrimitives.ReadUInt32LittleEndian(_page.AsSpan(field));
        set => BinaryPrimitives.WriteUInt32LittleEndian(_page.AsSpan(field), value);
    }

    public void Signal() => Signals++;

    /// <summary>Asks, and takes the answer as text: NULs are spaces, an error has a "!" before it.</summary>
    public string Ask(StoreMessage type, string payload = "", uint transaction = 0)
    {
        var answer = AskRaw((uint)type, Encoding.Latin1.GetBytes(payload), transaction, out var answered);
        var text = Encoding.Latin1.GetString(answer);
        return answered == (uint)StoreMessage.Error ? $"!{text.TrimEnd('\0')}" : text.Replace('\0', ' ').TrimEnd(' ');
    }

    public byte[] AskRaw(uint type, byte[] payload, uint transaction, out uint answered)
    {
        var request = ++_lastRequest;
        Send([.. Header(type, request, transaction, (uint)payload.Length), .. payload]);
        var messages = Receive();
        byte[]? answer = null;
        answered = uint.MaxValue;
        foreach (var (header, content) in messages)
        {
            Assert.Equal((request, transaction), (header[1], header[2]));
            Assert.Null(answer);
            (answered, answer) = (header[0], content);
            Assert.True(answered == type || answered == (uint)StoreMessage.Error, $"type {answered} answers type {type}");
        }

        return answer ?? throw new InvalidOperationException("no answer");
    }

    /// <summary>Puts bytes into the ring, as it has room, and signals.</summary>
    public void Send(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            var room = Ring - (int)(this[RequestProducer] - this[RequestConsumer]);
            Assert.True(room > 0, "the store does not read");
            var count = Math.Min(room, bytes.Length);
            for (var n = 0; n < count; n++)
            {
                _page[(int)(this[RequestProducer] % Ring)] = bytes[n];
                this[RequestProducer]++;
            }

            bytes = bytes[count..];
            Notify();
        }
    }

    public void Notify() => _store.Serve(Domain);

    /// <summary>Reads until nothing comes any more. Events go to <see cref="Events"/>.</summary>
    public List<(uint[] Header, byte[] Content)> Receive()
    {
        while (this[ResponseProducer] != this[ResponseConsumer])
        {
            while (this[ResponseProducer] != this[ResponseConsumer])
            {
                _received.Add(_page[Ring + (int)(this[ResponseConsumer] % Ring)]);
                this[ResponseConsumer]++;
            }

            Notify();
        }

        var answers = new List<(uint[] Header, byte[] Content)>();
        while (TryTake(out var header, out var content))
        {
            if (header[0] == (uint)StoreMessage.WatchEvent)
            {
                Assert.Equal((0u, 0u), (header[1], header[2]));
                var parts = Encoding.Latin1.GetString(content).Split('\0');
                Assert.Equal(3, parts.Length);
                Events.Add((parts[0], parts[1]));
            }
            else
            {
                answers.Add((header, content));
            }
        }

        return answers;
    }

    /// <summary>The events since the last look.</summary>
    public string[] TakeEvents()
    {
        Assert.Empty(Receive());
        var events = Events.Select(static e => $"{e.Path} {e.Token}").ToArray();
        Events.Clear();
        return events;
    }

    public static byte[] Header(uint type, uint request, uint transaction, uint length)
    {
        var header = new byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(header, type);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(4), request);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(8), transaction);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(12), length);
        return header;
    }

    private StoreDomain Identity(string name) => new()
    {
        Id = Domain,
        Uuid = new Guid(Domain, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11),
        Name = name,
        MemoryKiB = 65536,
        Vcpus = 2,
        Store = (0xfeffc, 1),
        Console = (0xfefff, 2),
    };

    private bool TryTake(out uint[] header, out byte[] content)
    {
        (header, content) = ([], []);
        if (_received.Count < 16)
        {
            return false;
        }

        var bytes = _received.GetRange(0, 16).ToArray();
        header = [.. Enumerable.Range(0, 4).Select(n => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(n * 4)))];
        Assert.True(header[3] <= StoreWire.MostPayload, $"{header[3]} bytes of payload");
        if (_received.Count < 16 + header[3])
        {
            return false;
        }

        content = [.. _received.GetRange(16, (int)header[3])];
        _received.RemoveRange(0, 16 + (int)header[3]);
        return true;
    }
}
