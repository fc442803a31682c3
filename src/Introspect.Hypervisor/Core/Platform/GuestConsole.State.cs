using System.Buffers.Binary;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>The console as plain bytes: its position, how much text and input follow, the text that is kept, the input that waits.</summary>
internal sealed partial class GuestConsole
{
    private const int StateHeaderBytes = 16;

    /// <summary>The state.</summary>
    public byte[] SaveState()
    {
        lock (_lock)
        {
            var text = (int)Math.Min(_position, (ulong)_ring.Length);
            var state = new byte[StateHeaderBytes + text + _input.Count];
            BinaryPrimitives.WriteUInt64LittleEndian(state, _position);
            BinaryPrimitives.WriteInt32LittleEndian(state.AsSpan(8), text);
            BinaryPrimitives.WriteInt32LittleEndian(state.AsSpan(12), _input.Count);
            for (var n = 0; n < text; n++)
            {
                state[StateHeaderBytes + n] = _ring[(int)((_position - (ulong)text + (ulong)n) % (ulong)_ring.Length)];
            }

            _input.CopyTo(state, StateHeaderBytes + text);
            return state;
        }
    }

    /// <summary>Takes a state over. Positions go on from where they were; of more text than is kept here, the end counts.</summary>
    /// <returns>EINVAL: the lengths do not fit, or there is more text than was ever written.</returns>
    public Errno LoadState(ReadOnlySpan<byte> state)
    {
        if (state.Length < StateHeaderBytes)
        {
            return Errno.EINVAL;
        }

        var position = BinaryPrimitives.ReadUInt64LittleEndian(state);
        var text = BinaryPrimitives.ReadInt32LittleEndian(state[8..]);
        var input = BinaryPrimitives.ReadInt32LittleEndian(state[12..]);
        if (text < 0 || input is < 0 or > MaxInput || (long)text + input != state.Length - StateHeaderBytes || (ulong)text > position)
        {
            return Errno.EINVAL;
        }

        lock (_lock)
        {
            _position = position - (ulong)text;
            _input.Clear();
        }

        Write(state.Slice(StateHeaderBytes, text));
        QueueInput(state[(StateHeaderBytes + text)..]);
        return Errno.None;
    }
}
