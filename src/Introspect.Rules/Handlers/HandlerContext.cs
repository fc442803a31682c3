using System.Runtime.InteropServices;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Handlers;

/// <summary>
/// What a handler has besides the event: the domain to read memory of, the time, and the data that its verdict
/// applies to the vCPU. The data is written straight into the response, so that using it allocates and copies nothing;
/// what a handler writes and does not name in its verdict is undone.
/// </summary>
public ref struct HandlerContext
{
    private const int EmulReadOffset = 60;
    private const int EmulInsnOffset = 56;

    private readonly ref readonly VmEvent _request;
    private readonly ref VmEvent _response;
    private TrapInjection _trap;

    /// <summary>Makes the context of an event; of use outside of a pump to test a handler.</summary>
    /// <param name="domain">The domain of the event.</param>
    /// <param name="request">The event.</param>
    /// <param name="response">Where the data goes: a copy of the request.</param>
    /// <param name="time">When the request was taken.</param>
    public HandlerContext(IDomain domain, ref readonly VmEvent request, ref VmEvent response, DateTime time)
    {
        Domain = domain;
        _request = ref request;
        _response = ref response;
        Time = time;
    }

    /// <summary>The domain: its memory, its vCPUs. Its calls are hypercalls, and count against the handler's budget.</summary>
    public IDomain Domain { get; }

    /// <summary>When the request was taken, UTC.</summary>
    public DateTime Time { get; }

    /// <summary>The number of the event's record (<see cref="Pump.EventRecord.Sequence"/>); 0 outside of a pump.</summary>
    public ulong Sequence { get; internal init; }

    /// <summary>The vCPU of the event.</summary>
    public readonly VcpuId Vcpu => new(_request.VcpuId);

    /// <summary>True when the vCPU waits: only then has a verdict other than pass any effect on it.</summary>
    public readonly bool IsSync => (_request.Flags & VmEventFlags.VcpuPaused) != 0;

    /// <summary>The address space at the event, to read guest-virtual memory with.</summary>
    public readonly AddressSpace AddressSpace => AddressSpace.FromControlRegisters(
        _request.Registers.Cr0, _request.Registers.Cr3, _request.Registers.Cr4, _request.Registers.MsrEfer);

    /// <summary>True when an earlier handler decided: this one only observes.</summary>
    public bool IsDecided { get; internal set; }

    /// <summary>The verdict of the earlier handler, or pass.</summary>
    public Verdict DecidedVerdict { get; internal set; }

    /// <summary>
    /// The registers that the vCPU gets with <see cref="Verdict.WithRegisters"/>; at first those of the event. The
    /// hypervisor takes the 16 general registers, RFLAGS and RIP, and ignores the rest.
    /// </summary>
    /// <remarks>
    /// An event on CPUID, a control register or MSR write, a guest request or a port access comes before RIP has moved on.
    /// Where RIP is left as it was, the pump moves it past the instruction; where the handler sets it, it stays.
    /// </remarks>
    public ref VmEventRegisters Registers
    {
        get
        {
            if (Payload != ResponsePayload.Registers)
            {
                _response.Registers = _request.Registers;
                Payload = ResponsePayload.Registers;
            }

            return ref _response.Registers;
        }
    }

    /// <summary>The trap that <see cref="Verdict.WithInjection"/> injects; when not set, the exception of the event itself.</summary>
    public TrapInjection Trap
    {
        readonly get => _trap;
        set
        {
            _trap = value;
            HasTrap = true;
        }
    }

    internal bool HasTrap { get; set; }

    internal ResponsePayload Payload { get; set; }

    /// <summary>Gives the bytes that emulation reads in place of memory, for <see cref="Verdict.EmulateWithReadData"/>.</summary>
    /// <param name="data">At most <see cref="VmEvent.MaxEmulReadBytes"/> bytes.</param>
    public void SetEmulationReadData(scoped ReadOnlySpan<byte> data)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(data.Length, VmEvent.MaxEmulReadBytes, nameof(data));
        var bytes = Bytes();
        bytes[EmulInsnOffset..].Clear();
        _response.EmulReadSize = (uint)data.Length;
        data.CopyTo(bytes[EmulReadOffset..]);
        Payload = ResponsePayload.ReadData;
    }

    /// <summary>Gives the instruction bytes that emulation runs, for <see cref="Verdict.EmulateInstruction"/>.</summary>
    /// <param name="instruction">At most <see cref="VmEvent.MaxEmulInsnBytes"/> bytes.</param>
    public void SetEmulationInstruction(scoped ReadOnlySpan<byte> instruction)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(instruction.Length, VmEvent.MaxEmulInsnBytes, nameof(instruction));
        var bytes = Bytes();
        bytes[EmulInsnOffset..].Clear();
        instruction.CopyTo(bytes[EmulInsnOffset..]);
        Payload = ResponsePayload.Instruction;
    }

    /// <summary>Undoes what a handler wrote without naming it in its verdict.</summary>
    internal void Discard()
    {
        if (Payload != ResponsePayload.None)
        {
            _response = _request;
            Payload = ResponsePayload.None;
        }

        HasTrap = false;
    }

    private readonly Span<byte> Bytes() => MemoryMarshal.AsBytes(MemoryMarshal.CreateSpan(ref _response, 1));
}

/// <summary>Which of the three things that share their bytes a response carries.</summary>
internal enum ResponsePayload : byte
{
    None,
    Registers,
    ReadData,
    Instruction,
}
