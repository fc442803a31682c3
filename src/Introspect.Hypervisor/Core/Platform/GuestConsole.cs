namespace Introspect.Hypervisor.Core.Platform;

/// <summary>
/// What a guest wrote to its console: a bounded ring whose position only grows, so that any number of readers
/// follow it at their own pace and learn what they missed. Input for the guest waits in a bounded queue.
/// </summary>
internal sealed partial class GuestConsole
{
    /// <summary>Bytes kept by default.</summary>
    public const int DefaultCapacity = 64 * 1024;

    private const int MaxInput = 4096;

    private readonly Lock _lock = new();
    private readonly byte[] _ring;
    private readonly Queue<byte> _input = [];
    private ulong _position;

    /// <summary>Makes an empty console.</summary>
    public GuestConsole(int capacity = DefaultCapacity)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        _ring = new byte[capacity];
    }

    /// <summary>Something was written. Raised on the guest's thread, without locks held.</summary>
    public event Action? Written;

    /// <summary>Bytes written since the guest was made.</summary>
    public ulong Position
    {
        get
        {
            lock (_lock)
            {
                return _position;
            }
        }
    }

    /// <summary>Appends what the guest wrote.</summary>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        if (bytes.IsEmpty)
        {
            return;
        }

        lock (_lock)
        {
            var kept = bytes.Length > _ring.Length ? bytes[^_ring.Length..] : bytes;
            var start = (int)((_position + (ulong)(bytes.Length - kept.Length)) % (ulong)_ring.Length);
            var first = Math.Min(kept.Length, _ring.Length - start);
            kept[..first].CopyTo(_ring.AsSpan(start));
            kept[first..].CopyTo(_ring);
            _position += (ulong)bytes.Length;
        }

        Written?.Invoke();
    }

    /// <summary>
    /// Copies what was written from a position on, and moves the position behind it. Where the ring has lost that
    /// place already, the position first moves to the oldest byte there is.
    /// </summary>
    /// <returns>How many bytes were copied.</returns>
    public int Read(ref ulong position, Span<byte> destination)
    {
        lock (_lock)
        {
            var oldest = _position > (ulong)_ring.Length ? _position - (ulong)_ring.Length : 0;
            position = Math.Clamp(position, oldest, _position);
            var count = (int)Math.Min(_position - position, (ulong)destination.Length);
            var start = (int)(position % (ulong)_ring.Length);
            var first = Math.Min(count, _ring.Length - start);
            _ring.AsSpan(start, first).CopyTo(destination);
            _ring.AsSpan(0, count - first).CopyTo(destination[first..]);
            position += (ulong)count;
            return count;
        }
    }

    /// <summary>Queues input for the guest; what does not fit is refused.</summary>
    /// <returns>How many bytes were taken.</returns>
    public int QueueInput(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            var count = Math.Min(bytes.Length, MaxInput - _input.Count);
            foreach (var b in bytes[..count])
            {
                _input.Enqueue(b);
            }

            return count;
        }
    }

    /// <summary>Takes input for the guest.</summary>
    /// <returns>How many bytes there were.</returns>
    public int TakeInput(Span<byte> destination)
    {
        lock (_lock)
        {
            var count = Math.Min(destination.Length, _input.Count);
            for (var i = 0; i < count; i++)
            {
                destination[i] = _input.Dequeue();
            }

            return count;
        }
    }
}
