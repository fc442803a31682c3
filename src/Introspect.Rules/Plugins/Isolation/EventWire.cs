using System.Runtime.InteropServices;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Ring;

namespace Introspect.Rules.Plugins.Isolation;

/// <summary>What a message in a <see cref="CallBox"/> is.</summary>
internal enum CallKind : uint
{
    None,

    /// <summary>Monitor to plugin: an event to decide about.</summary>
    Event,

    /// <summary>Plugin to monitor: the verdict.</summary>
    Answer,

    /// <summary>Plugin to monitor, in the middle of an event: something about the domain.</summary>
    Ask,

    /// <summary>Monitor to plugin: what came of it.</summary>
    Reply,
}

/// <summary>What a plugin asks about the domain of the event.</summary>
internal enum DomainOperation : uint
{
    None,
    GetInfo,
    ReadPhysical,
    WritePhysical,
    Translate,
    ReadVirtual,
    WriteVirtual,
    ReadVcpu,
    WriteVcpu,
    InjectTrap,
}

/// <summary>An event on its way to a plugin.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct EventMessage
{
    public CallKind Kind;
    public byte IsDecided;
    public byte DecidedDecision;
    public byte DecidedEffects;
    public ushort DecidedView;
    public long TimeTicks;
    public VmEvent Event;
}

/// <summary>A verdict on its way back. What it says in <see cref="Text"/> follows at <see cref="CallLayout.DataOffset"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AnswerMessage
{
    public CallKind Kind;

    /// <summary>Bytes of a text: the handler threw, and this is what.</summary>
    public int Text;
    public byte Decision;
    public byte Effects;
    public byte Payload;
    public byte HasTrap;
    public ushort View;
    public TrapWire Trap;

    /// <summary>The response that the handler wrote into, where there is a payload.</summary>
    public VmEvent Response;
}

/// <summary>A question about the domain. Data follows at <see cref="CallLayout.DataOffset"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AskMessage
{
    public CallKind Kind;
    public DomainOperation Operation;
    public ulong Address;
    public ulong Root;
    public int Length;
    public uint Vcpu;
    public byte PagingMode;
    public byte PageSizeExtension;
    public TrapWire Trap;
}

/// <summary>The answer to a question. Data, or with an error its text, follows at <see cref="CallLayout.DataOffset"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ReplyMessage
{
    public CallKind Kind;
    public int Error;
    public int Length;
    public uint Flag;
    public ulong Value;
}

/// <summary>A trap to inject.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TrapWire
{
    public ulong Cr2;
    public uint ErrorCode;
    public byte Vector;
    public byte Type;
    public byte InsnLength;

    public static TrapWire Of(in TrapInjection trap) =>
        new() { Cr2 = trap.Cr2, ErrorCode = trap.ErrorCode, Vector = trap.Vector, Type = trap.Type, InsnLength = trap.InsnLength };

    public readonly TrapInjection ToTrap() => new(Vector, Type, InsnLength, ErrorCode, Cr2);
}

/// <summary>Where things are in a message.</summary>
internal static class CallLayout
{
    /// <summary>Where data begins.</summary>
    public const int DataOffset = 1024;

    /// <summary>Most bytes of data.</summary>
    public const int MaxData = CallBox.MessageBytes - DataOffset;

    /// <summary>Most bytes of a text.</summary>
    public const int MaxText = 4096;

    /// <summary>A message to be written.</summary>
    public static ref T As<T>(Span<byte> message)
        where T : struct =>
        ref MemoryMarshal.AsRef<T>(message);

    /// <summary>A copy of a message: the other end may go on writing.</summary>
    public static T Read<T>(ReadOnlySpan<byte> message)
        where T : struct =>
        MemoryMarshal.Read<T>(message);

    /// <summary>Writes a text as data.</summary>
    /// <returns>Its bytes.</returns>
    public static int WriteText(Span<byte> message, string text)
    {
        var room = message.Slice(DataOffset, MaxText);
        return System.Text.Unicode.Utf8.FromUtf16(text, room, out _, out var written) is System.Buffers.OperationStatus.Done or System.Buffers.OperationStatus.DestinationTooSmall ? written : 0;
    }

    /// <summary>Reads a text from the data.</summary>
    public static string ReadText(ReadOnlySpan<byte> message, int length) =>
        System.Text.Encoding.UTF8.GetString(message.Slice(DataOffset, Math.Clamp(length, 0, MaxText))).ReplaceLineEndings(" ");
}
