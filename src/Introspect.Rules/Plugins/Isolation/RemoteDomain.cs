using System.Runtime.InteropServices;
using System.Text.Json;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;

namespace Introspect.Rules.Plugins.Isolation;

/// <summary>
/// The domain of an event in a plugin's process: each call goes to the monitor, whose pump waits for the verdict anyway
/// and does it. So it works in the middle of an event only, on the thread that handles it.
/// </summary>
internal sealed class RemoteDomain(CallBox box, DomainId id) : IDomain, IGuestMemory
{
    private const int Chunk = 32 * 1024;

    private int _thread;

    /// <inheritdoc/>
    public DomainId Id => id;

    /// <inheritdoc/>
    public IGuestMemory Memory => this;

    /// <summary>An event begins on this thread.</summary>
    public void Begin() => _thread = Environment.CurrentManagedThreadId;

    /// <summary>It ends.</summary>
    public void End() => _thread = 0;

    /// <inheritdoc/>
    public DomainInfo GetInfo()
    {
        var reply = Call(new() { Operation = DomainOperation.GetInfo });
        return JsonSerializer.Deserialize(Data(reply.Length), ControlJson.Default.DomainWire)!.ToInfo();
    }

    /// <inheritdoc/>
    public VcpuState ReadVcpu(VcpuId vcpu)
    {
        Call(new() { Operation = DomainOperation.ReadVcpu, Vcpu = vcpu.Value });
        return MemoryMarshal.Read<VcpuState>(Data(CallLayout.MaxData));
    }

    /// <inheritdoc/>
    public void WriteVcpu(VcpuId vcpu, in VcpuState state) =>
        Call(new() { Operation = DomainOperation.WriteVcpu, Vcpu = vcpu.Value }, MemoryMarshal.AsBytes(MemoryMarshal.CreateReadOnlySpan(in state, 1)));

    /// <inheritdoc/>
    public void InjectTrap(VcpuId vcpu, in TrapInjection trap) =>
        Call(new() { Operation = DomainOperation.InjectTrap, Vcpu = vcpu.Value, Trap = TrapWire.Of(in trap) });

    /// <inheritdoc/>
    public void ReadPhysical(GuestPhysical address, Span<byte> destination)
    {
        for (var at = 0; at < destination.Length; at += Chunk)
        {
            var part = destination[at..Math.Min(at + Chunk, destination.Length)];
            Call(new() { Operation = DomainOperation.ReadPhysical, Address = address.Value + (ulong)at, Length = part.Length });
            Data(part.Length).CopyTo(part);
        }
    }

    /// <inheritdoc/>
    public void WritePhysical(GuestPhysical address, ReadOnlySpan<byte> source)
    {
        for (var at = 0; at < source.Length; at += Chunk)
        {
            var part = source[at..Math.Min(at + Chunk, source.Length)];
            Call(new() { Operation = DomainOperation.WritePhysical, Address = address.Value + (ulong)at, Length = part.Length }, part);
        }
    }

    /// <inheritdoc/>
    public bool TryTranslate(in AddressSpace space, GuestVirtual address, out GuestPhysical physical)
    {
        var reply = Call(Ask(DomainOperation.Translate, in space, address.Value, 0));
        physical = new(reply.Value);
        return reply.Flag != 0;
    }

    /// <inheritdoc/>
    public void ReadVirtual(in AddressSpace space, GuestVirtual address, Span<byte> destination)
    {
        for (var at = 0; at < destination.Length; at += Chunk)
        {
            var part = destination[at..Math.Min(at + Chunk, destination.Length)];
            Call(Ask(DomainOperation.ReadVirtual, in space, address.Value + (ulong)at, part.Length));
            Data(part.Length).CopyTo(part);
        }
    }

    /// <inheritdoc/>
    public void WriteVirtual(in AddressSpace space, GuestVirtual address, ReadOnlySpan<byte> source)
    {
        for (var at = 0; at < source.Length; at += Chunk)
        {
            var part = source[at..Math.Min(at + Chunk, source.Length)];
            Call(Ask(DomainOperation.WriteVirtual, in space, address.Value + (ulong)at, part.Length), part);
        }
    }

    /// <inheritdoc/>
    public void Pause() => throw Refuse("pause a domain");

    /// <inheritdoc/>
    public void Unpause() => throw Refuse("unpause a domain");

    /// <inheritdoc/>
    public IMonitor EnableMonitor() => throw Refuse("enable a monitor");

    /// <inheritdoc/>
    public RecoveryReport Recover() => throw Refuse("recover a domain");

    /// <inheritdoc/>
    public void Dispose()
    {
        // The monitor's to let go of.
    }

    // What would outlive the plugin's process, should it die, is the monitor's alone.
    private static HypervisorException Refuse(string what) =>
        new(Errno.EPERM, $"a plugin in a process of its own cannot {what}; run it with 'isolation: none'");

    private static AskMessage Ask(DomainOperation operation, in AddressSpace space, ulong address, int length) => new()
    {
        Operation = operation,
        Address = address,
        Length = length,
        Root = space.Root,
        PagingMode = (byte)space.Mode,
        PageSizeExtension = space.PageSizeExtension ? (byte)1 : (byte)0,
    };

    private ReadOnlySpan<byte> Data(int length) => box.Incoming.Slice(CallLayout.DataOffset, length);

    private ReplyMessage Call(AskMessage ask, ReadOnlySpan<byte> data = default)
    {
        if (_thread != Environment.CurrentManagedThreadId)
        {
            throw new InvalidOperationException("a domain can be asked only while an event of it is handled, on the thread that handles it");
        }

        ask.Kind = CallKind.Ask;
        CallLayout.As<AskMessage>(box.Outgoing) = ask;
        data.CopyTo(box.Outgoing[CallLayout.DataOffset..]);
        box.Post();
        while (box.Wait(Timeout.InfiniteTimeSpan, lifeline: null) != WaitResult.Signalled)
        {
            // Woken because the handler is to end, which it does after this event.
        }

        var reply = CallLayout.Read<ReplyMessage>(box.Incoming);
        if (reply.Error == 0)
        {
            return reply;
        }

        var error = (Errno)reply.Error;
        var text = CallLayout.ReadText(box.Incoming, reply.Length);
        var known = $" ({error})";
        throw new HypervisorException(error, text.EndsWith(known, StringComparison.Ordinal) ? text[..^known.Length] : text);
    }
}
