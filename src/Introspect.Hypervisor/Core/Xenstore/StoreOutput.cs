using System.Text;

namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>Messages for a guest that its ring had no room for yet. A guest that does not read loses events, and nothing else grows.</summary>
internal sealed class StoreOutput
{
    private readonly Queue<(byte[] Message, string? Event)> _messages = [];

    // An event that is to be told already is not told twice.
    private readonly HashSet<string> _events = new(StringComparer.Ordinal);
    private int _sent;

    /// <summary>Bytes that wait.</summary>
    public int Bytes { get; private set; }

    /// <summary>Queues an answer.</summary>
    public void Add(byte[] message) => Enqueue(message, null);

    /// <summary>Queues an event, unless it waits already, is too long or there is no room. A special one may wait twice.</summary>
    public void AddEvent(string path, string token)
    {
        var payload = $"{path}\0{token}\0";
        var isSpecial = StorePath.IsSpecial(path);
        if (payload.Length > StoreWire.MostPayload || Bytes + payload.Length > StoreQuota.Unread || (!isSpecial && !_events.Add(payload)))
        {
            return;
        }

        Enqueue(new StoreHeader(StoreMessage.WatchEvent, 0, 0, 0).With(Encoding.Latin1.GetBytes(payload)), isSpecial ? null : payload);
    }

    /// <summary>Writes to the ring as much as goes.</summary>
    /// <returns>How many bytes; -1: the ring's indices cannot be.</returns>
    public int Send(Span<byte> page)
    {
        var total = 0;
        while (_messages.TryPeek(out var next))
        {
            var count = StoreRing.Write(page, next.Message.AsSpan(_sent));
            if (count < 0)
            {
                return -1;
            }

            // Only once it is seen to be full, with all that is in it told: then the guest says when it has read.
            if (count == 0)
            {
                break;
            }

            (total, _sent, Bytes) = (total + count, _sent + count, Bytes - count);
            if (_sent == next.Message.Length)
            {
                Drop();
            }
        }

        return total;
    }

    /// <summary>Forgets all.</summary>
    public void Clear()
    {
        _messages.Clear();
        _events.Clear();
        (_sent, Bytes) = (0, 0);
    }

    /// <summary>The bytes that wait, as the guest is to read them.</summary>
    public byte[] ToBytes()
    {
        var bytes = new List<byte>(Bytes);
        foreach (var (message, _) in _messages)
        {
            bytes.AddRange(bytes.Count == 0 ? message.AsSpan(_sent) : message);
        }

        return [.. bytes];
    }

    private void Enqueue(byte[] message, string? name)
    {
        _messages.Enqueue((message, name));
        Bytes += message.Length;
    }

    private void Drop()
    {
        if (_messages.Dequeue().Event is { } name)
        {
            _events.Remove(name);
        }

        _sent = 0;
    }
}
