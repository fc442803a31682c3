using System.Numerics;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Platform.Apic;

/// <summary>
/// A vCPU's local APIC as Xen emulates it (<c>vlapic.c</c> of 4.17). Its state is the two records in which it is
/// saved. The requests (IRR, TMR) and pending errors may be set from any thread, without a lock; everything else is
/// the vCPU's own thread's, and others only read it to find out whom a message is for.
/// </summary>
internal sealed partial class LocalApic
{
    private const int VectorWords = 8;
    private const uint WordStride = 0x10;

    private readonly LocalApicBus _bus;
    private readonly ILocalApicHost _host;
    private HvmHwLapic _hidden;
    private HvmHwLapicRegs _registers;

    // Bit n: word n of the IRR has, or had a moment ago, a bit set. One look tells that nothing is requested.
    private int _requestedWords;

    public LocalApic(LocalApicBus bus, uint vcpuId, ILocalApicHost host)
    {
        _bus = bus;
        _host = host;
        VcpuId = vcpuId;
        Reset();
    }

    /// <summary>The vCPU's number.</summary>
    public uint VcpuId { get; }

    /// <summary>The vCPU.</summary>
    public ILocalApicHost Host => _host;

    /// <summary>IA32_APIC_BASE.</summary>
    public ulong Base => _hidden.ApicBaseMsr;

    /// <summary>Neither disabled in IA32_APIC_BASE nor in the spurious vector register.</summary>
    public bool IsEnabled => Volatile.Read(ref _hidden.Disabled) == 0;

    /// <summary>The registers are MSRs.</summary>
    public bool IsX2 => (Volatile.Read(ref _hidden.ApicBaseMsr) & MsrIndex.ApicBaseX2) != 0;

    /// <summary>True when there may be a request in the IRR: the look that every entry into the guest takes.</summary>
    public bool HasRequests => Volatile.Read(ref _requestedWords) != 0;

    /// <summary>The task priority as CR8 has it.</summary>
    public ulong Cr8
    {
        get => (Register(ApicRegister.TaskPriority) & ApicBits.PriorityClass) >> 4;
        set => Register(ApicRegister.TaskPriority) = ((uint)value & 0xF) << 4;
    }

    /// <summary>PPR: the higher of the task priority and the class of the interrupt in service.</summary>
    public uint ProcessorPriority
    {
        get
        {
            var task = Volatile.Read(ref Register(ApicRegister.TaskPriority));
            var service = (uint)Math.Max(Highest(ApicRegister.InService), 0);
            return (task & ApicBits.PriorityClass) >= (service & ApicBits.PriorityClass)
                ? task & ApicBits.VectorMask
                : service & ApicBits.PriorityClass;
        }
    }

    private bool IsHardwareDisabled => (_hidden.Disabled & HvmHwLapic.HardwareDisabled) != 0;

    private bool IsSoftwareDisabled => (_hidden.Disabled & HvmHwLapic.SoftwareDisabled) != 0;

    /// <summary>Power-on state.</summary>
    public void Reset()
    {
        _hidden.ApicBaseMsr = MsrIndex.ApicDefaultAddress | MsrIndex.ApicBaseEnable
            | (VcpuId == 0 ? MsrIndex.ApicBaseBsp : 0);
        _hidden.Disabled &= ~HvmHwLapic.HardwareDisabled;
        Register(ApicRegister.Id) = (VcpuId * 2) << 24;
        Initialise();
    }

    /// <summary>What INIT makes of the APIC: its mode and its number stay.</summary>
    public void Initialise()
    {
        Register(ApicRegister.Version) = ApicBits.Version;
        for (var word = 0; word < VectorWords; word++)
        {
            Interlocked.Exchange(ref Vectors(ApicRegister.InterruptRequest, word), 0);
            ForgetRequests(word);
            Vectors(ApicRegister.InService, word) = 0;
            Interlocked.Exchange(ref Vectors(ApicRegister.TriggerMode, word), 0);
        }

        Register(ApicRegister.CommandLow) = 0;
        Register(ApicRegister.CommandHigh) = 0;
        if (!IsX2)
        {
            Register(ApicRegister.LogicalDestination) = 0; // read-only in x2APIC mode
        }

        Register(ApicRegister.TaskPriority) = 0;
        Register(ApicRegister.DestinationFormat) = ApicBits.FlatFormat;
        for (uint entry = 0; entry < ApicBits.LvtCount; entry++)
        {
            Register(ApicRegister.LvtTimer + (WordStride * entry)) = ApicBits.LvtMasked;
        }

        Register(ApicRegister.SpuriousVector) = 0xFF;
        _hidden.Disabled |= HvmHwLapic.SoftwareDisabled;
        ResetTimer();
    }

    /// <summary>IA32_APIC_BASE was written; whether the change may be was checked.</summary>
    public void ChangeBase(ulong value)
    {
        if (((_hidden.ApicBaseMsr ^ value) & MsrIndex.ApicBaseEnable) != 0)
        {
            if ((value & MsrIndex.ApicBaseEnable) != 0)
            {
                Reset();
            }
            else
            {
                _hidden.Disabled |= HvmHwLapic.HardwareDisabled;
            }
        }

        _hidden.ApicBaseMsr = value;
        if (IsX2)
        {
            TakeX2Id();
        }
    }

    /// <summary>Requests an interrupt. Any thread.</summary>
    public void Request(byte vector, bool level = false)
    {
        if (vector < ApicBits.FirstVector)
        {
            Error(ApicBits.ErrorReceivedIllegalVector);
            return;
        }

        var word = vector / 32;
        var bit = 1u << (vector % 32);
        ref var trigger = ref Vectors(ApicRegister.TriggerMode, word);
        if (level)
        {
            Interlocked.Or(ref trigger, bit);
        }
        else if ((Volatile.Read(ref trigger) & bit) != 0)
        {
            Interlocked.And(ref trigger, ~bit);
        }

        if ((Interlocked.Or(ref Vectors(ApicRegister.InterruptRequest, word), bit) & bit) == 0)
        {
            Interlocked.Or(ref _requestedWords, 1 << word);
            _host.Wake();
        }
    }

    /// <summary>
    /// The request that the vCPU would be interrupted with: above what is in service and above the task priority.
    /// </summary>
    public bool TryFindPending(out byte vector)
    {
        vector = 0;
        if (!IsEnabled)
        {
            return false;
        }

        var requested = Highest(ApicRegister.InterruptRequest);
        if (requested < 0)
        {
            return false;
        }

        vector = (byte)requested;
        if (Assist is not null)
        {
            EndSparedInterrupt();
            if ((requested & ApicBits.PriorityClass) <= (Math.Max(Highest(ApicRegister.InService), 0) & ApicBits.PriorityClass))
            {
                Assist.Withdraw(); // it is to say when the interrupt behind it can come
            }
        }

        return ((uint)requested & ApicBits.PriorityClass) > (ProcessorPriority & ApicBits.PriorityClass);
    }

    /// <summary>The vCPU takes the interrupt: from request to service.</summary>
    public void Acknowledge(byte vector)
    {
        var word = vector / 32;
        var bit = 1u << (vector % 32);
        if (GoesIntoService(vector))
        {
            Vectors(ApicRegister.InService, word) |= bit;
        }

        if ((Interlocked.And(ref Vectors(ApicRegister.InterruptRequest, word), ~bit) & ~bit) == 0)
        {
            ForgetRequests(word);
        }
    }

    /// <summary>The event channel upcall is due on a vCPU that wants it through its APIC. Any thread.</summary>
    public void RequestUpcall(byte vector)
    {
        if (IsEnabled)
        {
            Request(vector);
        }
    }

    /// <summary>
    /// Notes an error, and tells the guest once per kind until it looks. An error interrupt with an illegal vector is
    /// an error of its own, not another interrupt. Any thread.
    /// </summary>
    private void Error(uint kind)
    {
        ref var pending = ref Register(ApicRegister.PendingErrors);
        if ((Interlocked.Or(ref pending, kind) & kind) != 0)
        {
            return;
        }

        var entry = Volatile.Read(ref Register(ApicRegister.LvtError));
        if ((entry & ApicBits.LvtMasked) != 0)
        {
            return;
        }

        if ((byte)entry >= ApicBits.FirstVector)
        {
            Request((byte)entry);
        }
        else
        {
            Interlocked.Or(ref pending, ApicBits.ErrorReceivedIllegalVector);
        }
    }

    private ref uint Register(uint offset) => ref _registers[(int)(offset / 4)];

    private ref uint Vectors(uint bitmap, int word) => ref Register(bitmap + (WordStride * (uint)word));

    private int Highest(uint bitmap)
    {
        for (var word = VectorWords - 1; word >= 0; word--)
        {
            var bits = Volatile.Read(ref Vectors(bitmap, word));
            if (bits != 0)
            {
                return (word * 32) + BitOperations.Log2(bits);
            }
        }

        return -1;
    }

    // A word that is empty goes out of the summary, and comes back when a request was faster.
    private void ForgetRequests(int word)
    {
        Interlocked.And(ref _requestedWords, ~(1 << word));
        if (Volatile.Read(ref Vectors(ApicRegister.InterruptRequest, word)) != 0)
        {
            Interlocked.Or(ref _requestedWords, 1 << word);
        }
    }
}
