using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>The synthetic interrupt controller: messages to a page of the guest's, each with an interrupt of its choice.</summary>
internal sealed partial class ViridianVcpu
{
    private const ulong SintMasked = 1 << 16, SintAutoEoi = 1 << 17;
    private const byte FirstVector = 0x10;
    private const byte NoSint = SyntheticInterruptMsrs.Count;
    private const int MessageBytes = 256;
    private const uint NoMessage = 0, TimerExpired = 0x8000_0010;

    private readonly byte[] _sintOfVector = new byte[256];
    private SyntheticInterruptMsrs _sints;
    private ulong _messagePage;
    private ulong _eventPage;
    private ulong _control;

    private void ResetSynic()
    {
        for (var n = 0; n < SyntheticInterruptMsrs.Count; n++)
        {
            _sints[n] = SintMasked;
        }

        Array.Fill(_sintOfVector, NoSint);
    }

    private bool IsAutoEoi(byte vector) => _sintOfVector[vector] is var sint and < NoSint && (_sints[sint] & SintAutoEoi) != 0;

    private void SetMessagePage(ulong value)
    {
        _messagePage = value;
        ClearPage(value);
    }

    private bool TrySetSint(int sint, ulong value)
    {
        if ((byte)value < FirstVector)
        {
            return false;
        }

        _sintOfVector[(byte)_sints[sint]] = NoSint;
        _sintOfVector[(byte)value] = (byte)sint;
        _sints[sint] = value;
        return true;
    }

    private void LoadSints(in SyntheticInterruptMsrs sints)
    {
        Array.Fill(_sintOfVector, NoSint);
        _sints = sints;
        for (var n = 0; n < SyntheticInterruptMsrs.Count; n++)
        {
            if ((byte)_sints[n] >= FirstVector)
            {
                _sintOfVector[(byte)_sints[n]] = (byte)n;
            }
        }
    }

    /// <summary>Puts a timer's message in its place, and raises the interrupt that goes with it.</summary>
    /// <returns>False: there is no page, or the last message is still there.</returns>
    private bool TryDeliver(int sint, uint timer, ulong expiration, ulong now)
    {
        if ((_messagePage & Enabled) == 0 || !_domain.Host.TryHoldPage(_messagePage >> Gfn.PageShift, out var page))
        {
            return false;
        }

        using (page)
        {
            ref var message = ref MemoryMarshal.AsRef<TimerMessage>(page.Bytes[(sint * MessageBytes)..]);
            if (Volatile.Read(ref message.Type) != NoMessage)
            {
                return false;
            }

            // No end of message is asked for: the next one waits for the place, not for a word.
            (message.PayloadSize, message.Flags) = (TimerMessage.PayloadBytes, 0);
            (message.Timer, message.Reserved1) = (timer, 0);
            (message.Expiration, message.Delivery) = (expiration, now);
            Volatile.Write(ref message.Type, TimerExpired);
        }

        if ((_sints[sint] & SintMasked) == 0 && _host.Apic is { IsEnabled: true } apic)
        {
            apic.Request((byte)_sints[sint]);
        }

        return true;
    }

    /// <summary>A message of a timer's.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct TimerMessage
    {
        public const byte PayloadBytes = 24;

        public uint Type;
        public byte PayloadSize;
        public byte Flags;
        public ushort Reserved0;
        public ulong Sender;
        public uint Timer;
        public uint Reserved1;
        public ulong Expiration;
        public ulong Delivery;
    }
}
