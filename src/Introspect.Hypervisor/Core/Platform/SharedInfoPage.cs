using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>The pages that a guest shares with the hypervisor. Spans are of the memory itself, never copies.</summary>
internal interface ISharedPages
{
    /// <summary>The <c>shared_info</c> page, 4096 bytes, which is there whether the guest mapped it or not.</summary>
    Span<byte> SharedInfo { get; }

    /// <summary>
    /// The <c>vcpu_info</c> that a vCPU registered elsewhere, 64 bytes; empty when it registered none.
    /// </summary>
    Span<byte> RegisteredVcpuInfo(uint vcpuId);
}

/// <summary>
/// Reads and writes the shared pages in the layout of the guest's mode. The guest runs beside us, so bits are set
/// and cleared atomically, and versions are written in the order that readers rely on.
/// </summary>
internal sealed class SharedInfoPage(ISharedPages pages)
{
    /// <summary>Layout in force; latched when the guest sets its callback or writes a hypercall page.</summary>
    public SharedInfoLayout Layout { get; private set; } = new(true);

    /// <summary>Latches the layout from the mode that the guest is in.</summary>
    public void Latch(bool is64) => Layout = new(is64);

    /// <summary>True when the vCPU has a <c>vcpu_info</c>.</summary>
    public bool HasVcpuInfo(uint vcpuId) => !VcpuInfo(vcpuId).IsEmpty;

    /// <summary>Sets a pending bit; true when it was set before.</summary>
    public bool TestAndSetPending(uint port) => TestAndSet(pages.SharedInfo[SharedInfoLayout.Pending..], port);

    /// <summary>Clears a pending bit.</summary>
    public void ClearPending(uint port) => TestAndClear(pages.SharedInfo[SharedInfoLayout.Pending..], port);

    /// <summary>True when the port is pending.</summary>
    public bool IsPending(uint port) => Test(pages.SharedInfo[SharedInfoLayout.Pending..], port);

    /// <summary>True when the guest masked the port.</summary>
    public bool IsMasked(uint port) => Test(pages.SharedInfo[Layout.Mask..], port);

    /// <summary>Clears a mask bit; true when it was set.</summary>
    public bool TestAndClearMask(uint port) => TestAndClear(pages.SharedInfo[Layout.Mask..], port);

    /// <summary>
    /// Tells a vCPU that a port's word has something for it. True when the vCPU must be interrupted for it: it had
    /// nothing to look at before.
    /// </summary>
    public bool Select(uint vcpuId, uint port)
    {
        var info = VcpuInfo(vcpuId);
        return !info.IsEmpty
            && !TestAndSet(info[Layout.PendingSelector..], port / (uint)Layout.WordBits)
            && MarkUpcallPending(info);
    }

    /// <summary>
    /// Marks every word of a vCPU as worth a look, because events may have come while it had no
    /// <c>vcpu_info</c> or another one. True when it must be interrupted for it.
    /// </summary>
    public bool SelectAll(uint vcpuId)
    {
        var info = VcpuInfo(vcpuId);
        if (info.IsEmpty)
        {
            return false;
        }

        info.Slice(Layout.PendingSelector, Layout.WordSize).Fill(0xFF);
        return MarkUpcallPending(info);
    }

    /// <summary>True when the vCPU has events that its guest did not look at yet.</summary>
    public bool IsUpcallPending(uint vcpuId)
    {
        var info = VcpuInfo(vcpuId);
        return !info.IsEmpty && Volatile.Read(ref info[SharedInfoLayout.UpcallPending]) != 0;
    }

    /// <summary>Tells a vCPU the time: what its TSC is now, what system time that is, and the scale.</summary>
    /// <param name="vcpuId">vCPU.</param>
    /// <param name="timestamp">Its TSC, offset included.</param>
    /// <param name="nanoseconds">System time at that TSC.</param>
    /// <param name="scale">Cycles to nanoseconds.</param>
    /// <param name="stable">True when every vCPU reads the same TSC, so that guests need no checks of their own.</param>
    public void WriteTime(uint vcpuId, ulong timestamp, ulong nanoseconds, TimeScale scale, bool stable)
    {
        var info = VcpuInfo(vcpuId);
        if (!info.IsEmpty)
        {
            PvClockRecord.Write(info.Slice(SharedInfoLayout.Time, PvClockRecord.Size), timestamp, nanoseconds, scale, stable);
        }
    }

    /// <summary>Tells the domain the wall clock: nanoseconds since 1970 at system time 0.</summary>
    public void WriteWallClock(ulong unixNanoseconds)
    {
        var (seconds, nanoseconds) = Math.DivRem(unixNanoseconds, 1_000_000_000UL);
        var clock = MemoryMarshal.Cast<byte, uint>(pages.SharedInfo[Layout.WallClock..]);
        var high = MemoryMarshal.Cast<byte, uint>(pages.SharedInfo[Layout.WallClockSecondsHigh..]);
        Volatile.Write(ref clock[0], (clock[0] + 1) | 1);
        Interlocked.MemoryBarrier();
        clock[1] = (uint)seconds;
        clock[2] = (uint)nanoseconds;
        high[0] = (uint)(seconds >> 32);
        Volatile.Write(ref clock[0], clock[0] + 1);
    }

    private Span<byte> VcpuInfo(uint vcpuId)
    {
        var registered = pages.RegisteredVcpuInfo(vcpuId);
        return !registered.IsEmpty ? registered
            : vcpuId < SharedInfoLayout.LegacyVcpus
                ? pages.SharedInfo.Slice((int)vcpuId * SharedInfoLayout.VcpuInfoSize, SharedInfoLayout.VcpuInfoSize)
                : default;
    }

    private static bool MarkUpcallPending(Span<byte> info) =>
        Interlocked.Exchange(ref info[SharedInfoLayout.UpcallPending], 1) == 0;

    // 32-bit words serve both layouts: bit n of an array is the same bit whatever the word's size, on a
    // little-endian machine.
    private static bool TestAndSet(Span<byte> bits, uint bit)
    {
        ref var word = ref MemoryMarshal.Cast<byte, uint>(bits)[(int)(bit / 32)];
        return (Interlocked.Or(ref word, 1u << (int)(bit % 32)) & (1u << (int)(bit % 32))) != 0;
    }

    private static bool TestAndClear(Span<byte> bits, uint bit)
    {
        ref var word = ref MemoryMarshal.Cast<byte, uint>(bits)[(int)(bit / 32)];
        return (Interlocked.And(ref word, ~(1u << (int)(bit % 32))) & (1u << (int)(bit % 32))) != 0;
    }

    private static bool Test(Span<byte> bits, uint bit)
    {
        ref var word = ref MemoryMarshal.Cast<byte, uint>(bits)[(int)(bit / 32)];
        return (Volatile.Read(ref word) & (1u << (int)(bit % 32))) != 0;
    }
}
