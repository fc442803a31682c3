using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Capture;

/// <summary>
/// An event as what of it differs from the one before on the same vCPU: which of its 50 words of 64 bits, and for each
/// the difference. Most registers stay as they are from one event to the next, and most that change move a little.
/// </summary>
internal static class VmEventDelta
{
    /// <summary>Most bytes that an event takes.</summary>
    public const int MaxBytes = MaskBytes + sizeof(byte) + (Words * MaxNumberBytes);

    private const int Words = VmEvent.SizeInBytes / sizeof(ulong);
    private const int MaskBytes = (Words + 7) / 8;
    private const int MaxNumberBytes = 10;

    /// <summary>Writes the difference.</summary>
    /// <param name="current">The event.</param>
    /// <param name="previous">The one before; becomes this one.</param>
    /// <param name="destination">At least <see cref="MaxBytes"/>.</param>
    /// <returns>Bytes written.</returns>
    public static int Encode(ref readonly VmEvent current, ref VmEvent previous, Span<byte> destination)
    {
        var now = MemoryMarshal.Cast<VmEvent, ulong>(new ReadOnlySpan<VmEvent>(in current));
        var before = MemoryMarshal.Cast<VmEvent, ulong>(new Span<VmEvent>(ref previous));
        var length = MaskBytes;
        var mask = 0UL;
        for (var i = 0; i < now.Length; i++)
        {
            if (now[i] == before[i])
            {
                continue;
            }

            mask |= 1UL << i;
            length += RecordBuffer.Put(destination[length..], RecordBuffer.ZigZag((long)(Wire(now[i]) - Wire(before[i]))));
            before[i] = now[i];
        }

        for (var i = 0; i < MaskBytes; i++)
        {
            destination[i] = (byte)(mask >> (8 * i));
        }

        return length;
    }

    /// <summary>Reads a difference.</summary>
    /// <param name="cursor">Where it is.</param>
    /// <param name="previous">The event before; becomes this one.</param>
    public static void Decode(ref ByteCursor cursor, ref VmEvent previous)
    {
        var words = MemoryMarshal.Cast<VmEvent, ulong>(new Span<VmEvent>(ref previous));
        var mask = 0UL;
        for (var i = 0; i < MaskBytes; i++)
        {
            mask |= (ulong)cursor.Byte() << (8 * i);
        }

        if (mask >> Words != 0)
        {
            throw new InvalidDataException("has an event of more words than there are");
        }

        for (; mask != 0; mask &= mask - 1)
        {
            ref var word = ref words[BitOperations.TrailingZeroCount(mask)];
            word = Wire(Wire(word) + (ulong)cursor.Signed());
        }
    }

    // The structure is little-endian on every machine that it comes from.
    private static ulong Wire(ulong word) => BitConverter.IsLittleEndian ? word : BinaryPrimitives.ReverseEndianness(word);
}
