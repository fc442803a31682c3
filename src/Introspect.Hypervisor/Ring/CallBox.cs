using System.Runtime.InteropServices;
using Introspect.Hypervisor.Linux;
using Microsoft.Win32.SafeHandles;

namespace Introspect.Hypervisor.Ring;

/// <summary>
/// One end of a place in shared memory where two processes take turns: one writes a message and passes the turn, the
/// other answers. A ring with one slot a direction, which is all that a caller needs who waits for each answer. Who
/// waits looks at the memory for a while, then sleeps on an eventfd. One thread at a time uses an end.
/// </summary>
/// <remarks>The other end may write anything at any time: copy what came before looking at it.</remarks>
internal sealed unsafe class CallBox : IDisposable
{
    /// <summary>Bytes of a message, at most.</summary>
    public const int MessageBytes = 64 * 1024;

    /// <summary>Bytes of the shared memory.</summary>
    public const int SizeInBytes = HeaderBytes + (2 * MessageBytes);

    private const int HeaderBytes = 4096;

    // What one end writes lies on lines of its own.
    private const int CallerPosted = 0;
    private const int CallerAsleep = 128;
    private const int CalleePosted = 256;
    private const int CalleeAsleep = 384;

    private const int PauseOfSpin = 4;

    // Microseconds. An answer often comes within one or two, and a sleep costs more than that on both sides. Where the ends
    // share a processor, looking only keeps the other one from answering.
    private const double ShortestSpin = 0.5;
    private const double LongestSpin = 20;

    private static readonly bool SpinPays = Environment.ProcessorCount > 1;

    private readonly MappedMemory _memory;
    private readonly EventFd _toOther;
    private readonly EventFd _fromOther;
    private readonly ulong* _posted;
    private readonly ulong* _asleep;
    private readonly ulong* _otherPosted;
    private readonly ulong* _otherAsleep;
    private readonly byte* _outgoing;
    private readonly byte* _incoming;
    private readonly AdaptiveSpin _spin = new(ShortestSpin, LongestSpin);
    private ulong _sent;
    private ulong _seen;

    private CallBox(MappedMemory memory, EventFd toOther, EventFd fromOther, bool isCaller)
    {
        (_memory, _toOther, _fromOther) = (memory, toOther, fromOther);
        var at = (byte*)memory.Address;
        _posted = (ulong*)(at + (isCaller ? CallerPosted : CalleePosted));
        _asleep = (ulong*)(at + (isCaller ? CallerAsleep : CalleeAsleep));
        _otherPosted = (ulong*)(at + (isCaller ? CalleePosted : CallerPosted));
        _otherAsleep = (ulong*)(at + (isCaller ? CalleeAsleep : CallerAsleep));
        _outgoing = at + HeaderBytes + (isCaller ? 0 : MessageBytes);
        _incoming = at + HeaderBytes + (isCaller ? MessageBytes : 0);
    }

    /// <summary>Where the next message is written.</summary>
    /// <remarks>SAFETY: the memory is mapped until <see cref="Dispose"/>, which is not called while an end is used.</remarks>
    public Span<byte> Outgoing => new(_outgoing, MessageBytes);

    /// <summary>The message that came.</summary>
    public ReadOnlySpan<byte> Incoming => new(_incoming, MessageBytes);

    /// <summary>The caller's end, and what the callee's end is made of by <see cref="Adopt"/>.</summary>
    public static (CallBox Caller, CallBoxParts Callee) Create(string name)
    {
        var up = EventFd.Create();
        var down = EventFd.Create();
        var file = MemoryFile.Create(name, SizeInBytes);
        var memory = file.Map(0, SizeInBytes, writable: true);
        return (new(memory, up, down, isCaller: true), new(file.Handle, down.Duplicate().Handle, up.Duplicate().Handle));
    }

    /// <summary>The callee's end. Takes the descriptors over.</summary>
    public static CallBox Adopt(CallBoxParts parts)
    {
        using var file = MemoryFile.Adopt(parts.Memory);
        return new(file.Map(0, SizeInBytes, writable: true), EventFd.Adopt(parts.ToCaller), EventFd.Adopt(parts.FromCaller), isCaller: false);
    }

    /// <summary>Passes the turn: what was written into <see cref="Outgoing"/> is the other end's now.</summary>
    public void Post()
    {
        Volatile.Write(ref *_posted, ++_sent);

        // Either the other end sees the message before it sleeps, or this one sees that it sleeps.
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref *_otherAsleep) != 0)
        {
            _toOther.Signal();
        }
    }

    /// <summary>Waits for the turn. May return early without it.</summary>
    /// <param name="timeout">How long, or <see cref="Timeout.InfiniteTimeSpan"/>.</param>
    /// <param name="lifeline">A socket whose hang-up means that the other end is gone.</param>
    public WaitResult Wait(TimeSpan timeout, SafeHandle? lifeline)
    {
        if (TakeTurn())
        {
            return WaitResult.Signalled;
        }

        if (SpinPays && _spin.Until(new Turn(this), PauseOfSpin))
        {
            return WaitResult.Signalled;
        }

        Volatile.Write(ref *_asleep, 1);
        Interlocked.MemoryBarrier();
        var result = HasTurn() ? WaitResult.Signalled : _fromOther.Wait(timeout, lifeline, CancellationToken.None);
        Volatile.Write(ref *_asleep, 0);

        // A signal without a message was left over from an earlier one, or is from Wake.
        return TakeTurn() ? WaitResult.Signalled : result == WaitResult.HungUp ? result : WaitResult.NotSignalled;
    }

    /// <summary>Ends the wait of the thread that is at this end. Any thread.</summary>
    public void Wake() => _fromOther.Signal();

    /// <inheritdoc/>
    public void Dispose()
    {
        _memory.Dispose();
        _toOther.Dispose();
        _fromOther.Dispose();
    }

    private bool HasTurn() => Volatile.Read(ref *_otherPosted) != _seen;

    private bool TakeTurn()
    {
        var posted = Volatile.Read(ref *_otherPosted);
        if (posted == _seen)
        {
            return false;
        }

        _seen = posted;
        return true;
    }

    private readonly struct Turn(CallBox box) : ILook
    {
        public bool IsThere() => box.TakeTurn();
    }
}

/// <summary>The descriptors of a <see cref="CallBox"/>'s other end, to be sent to another process.</summary>
/// <param name="Memory">The shared memory.</param>
/// <param name="ToCaller">Raised by the callee.</param>
/// <param name="FromCaller">Raised by the caller.</param>
internal sealed record CallBoxParts(SafeFileHandle Memory, SafeFileHandle ToCaller, SafeFileHandle FromCaller) : IDisposable
{
    /// <inheritdoc/>
    public void Dispose()
    {
        Memory.Dispose();
        ToCaller.Dispose();
        FromCaller.Dispose();
    }
}
