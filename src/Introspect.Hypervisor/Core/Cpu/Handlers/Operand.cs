using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.Handlers;

/// <summary>Reads and writes register operands, which are byte offsets into the state. Values travel zero-extended.</summary>
internal static unsafe class Operand
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Get<T>(CpuState* s, ushort register)
        where T : unmanaged => Load<T>((byte*)s + register);

    /// <summary>Writes a general register; a 32-bit write clears the upper half.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Set<T>(CpuState* s, ushort register, ulong value)
        where T : unmanaged
    {
        if (sizeof(T) == 8)
        {
            *(ulong*)((byte*)s + register) = value;
        }
        else if (sizeof(T) == 4)
        {
            *(ulong*)((byte*)s + register) = (uint)value;
        }
        else if (sizeof(T) == 2)
        {
            *(ushort*)((byte*)s + register) = (ushort)value;
        }
        else
        {
            *((byte*)s + register) = (byte)value;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Load<T>(byte* p)
        where T : unmanaged
    {
        if (sizeof(T) == 8)
        {
            return *(ulong*)p;
        }

        if (sizeof(T) == 4)
        {
            return *(uint*)p;
        }

        return sizeof(T) == 2 ? *(ushort*)p : *p;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<T>(byte* p, ulong value)
        where T : unmanaged
    {
        if (sizeof(T) == 8)
        {
            *(ulong*)p = value;
        }
        else if (sizeof(T) == 4)
        {
            *(uint*)p = (uint)value;
        }
        else if (sizeof(T) == 2)
        {
            *(ushort*)p = (ushort)value;
        }
        else
        {
            *p = (byte)value;
        }
    }

    /// <summary>Replaces a value in guest memory if it is still what was read; for locked instructions.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool CompareExchange<T>(byte* p, ulong expected, ulong value)
        where T : unmanaged
    {
        if (sizeof(T) == 8)
        {
            return Interlocked.CompareExchange(ref *(ulong*)p, value, expected) == expected;
        }

        if (sizeof(T) == 4)
        {
            return Interlocked.CompareExchange(ref *(uint*)p, (uint)value, (uint)expected) == (uint)expected;
        }

        return sizeof(T) == 2
            ? Interlocked.CompareExchange(ref *(ushort*)p, (ushort)value, (ushort)expected) == (ushort)expected
            : Interlocked.CompareExchange(ref *p, (byte)value, (byte)expected) == (byte)expected;
    }

    /// <summary>True when the pointer is the bounce buffer, so that a change must be committed.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsBounce(CpuState* s, byte* p) => p == (byte*)s->Bounce;
}
