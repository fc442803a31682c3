using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Core.Hypercalls.Guest;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.Policies;
using Introspect.Hypervisor.Tests.Domains;
using Introspect.Hypervisor.Tests.Platform;

namespace Introspect.Hypervisor.Tests.GuestHypercalls;

/// <summary>Domain 5 with flat memory at <see cref="Base"/> and a physmap that is a set of numbers; remembers what it was asked for.</summary>
internal sealed class FakeGuest : IGuestHypercallContext, IDomainTimerHost
{
    public const ulong Base = 0x10000;
    public const int Size = 0x10000;

    public readonly byte[] Memory = new byte[Size];
    public readonly SharedPages Pages = new(4);
    public readonly Dictionary<ushort, EventChannelTable> Others = [];
    public readonly Dictionary<uint, ulong> Params = [];
    public readonly SortedSet<ulong> Ram = [1, 2, 3];
    public readonly List<string> Log = [];
    public readonly HashSet<uint> Up = [0];
    public E820Entry[] Map = [];
    public ulong PageLimit = 1000;
    private static readonly Lazy<Machine> Alone = new(static () =>
    {
        var machine = new Machine(FakePlatform.Options(1L << 30));
        machine.CreateDomain(5, new() { MaxVcpus = 1 }, CpuVendor.Vmx);
        return machine;
    });

    private readonly byte[] _handle = [.. Enumerable.Range(1, 16).Select(i => (byte)i)];

    public FakeGuest()
    {
        Shared = new SharedInfoPage(Pages);
        Events = new EventChannelTable(5, Shared, Pages);
        Timers = new DomainTimers(4, Events, this);
    }

    public bool Is64 { get; set; } = true;

    public ushort DomainId => 5;

    public ReadOnlySpan<byte> DomainHandle => _handle;

    public DomainRoles Roles { get; set; }

    public ToolstackCaller Caller => new(DomainId, Roles.HasFlag(DomainRoles.Control));

    /// <summary>The door; unless given, to a machine with this domain and no other on it.</summary>
    public IToolstack Toolstack
    {
        get => field ?? new LocalToolstack(Alone.Value, Caller, waits: false);
        set;
    }

    public CpuVendor Vendor { get; set; }

    public int Cpl { get; set; }

    public bool GuestRequestFromUserspace { get; set; }

    public ulong SystemTime { get; set; } = 1000;

    public GuestConsole Console { get; } = new();

    public EventChannelTable Events { get; }

    public SharedInfoPage Shared { get; }

    public DomainTimers Timers { get; }

    public uint VcpuId { get; set; }

    public uint VcpuCount => 4;

    public ReadOnlySpan<E820Entry> MemoryMap => Map;

    public ulong MaximumGfn => Ram.Max;

    public ulong MaximumRamPage => 0x4000;

    public ulong TotalPages => (ulong)Ram.Count;

    public ulong MaximumPages => PageLimit;

    public uint GrantFrames { get; set; } = 1;

    public uint MaximumGrantFrames => 4;

    public bool RunstateUpdateFlag { get; set; }

    public bool AltP2mActive { get; set; }

    public long Call(uint op, ulong a1 = 0, ulong a2 = 0, ulong a3 = 0, ulong a4 = 0)
    {
        var arguments = new HypercallArguments { Op = op, A1 = a1, A2 = a2, A3 = a3, A4 = a4, Is64 = Is64 };
        var result = GuestHypercalls(arguments);
        while (result.Continues)
        {
            Continued++;
            result = GuestHypercalls(result.Next);
        }

        return result.Value;
    }

    public int Continued { get; private set; }

    /// <summary>Puts structures into memory one behind the other and gives the first one's address.</summary>
    public ulong Put<T>(in T value, ulong address = Base)
        where T : unmanaged
    {
        MemoryMarshal.Write(Memory.AsSpan((int)(address - Base)), value);
        return address;
    }

    public T Get<T>(ulong address = Base)
        where T : unmanaged => MemoryMarshal.Read<T>(Memory.AsSpan((int)(address - Base)));

    public bool CopyFromGuest(ulong linearAddress, Span<byte> destination)
    {
        if (!Inside(linearAddress, destination.Length))
        {
            return false;
        }

        Memory.AsSpan((int)(linearAddress - Base), destination.Length).CopyTo(destination);
        return true;
    }

    public bool CopyToGuest(ulong linearAddress, ReadOnlySpan<byte> source)
    {
        if (!Inside(linearAddress, source.Length))
        {
            return false;
        }

        source.CopyTo(Memory.AsSpan((int)(linearAddress - Base)));
        return true;
    }

    public bool DomainExists(ushort domainId) => domainId == DomainId || Others.ContainsKey(domainId) || OtherViews.ContainsKey(domainId);

    public void SetMemoryMap(ReadOnlySpan<E820Entry> map) => Map = map.ToArray();

    public EventChannelTable? FindEvents(ushort domainId) => Others.GetValueOrDefault(domainId);

    public ulong ReadHvmParam(uint index) => Params.GetValueOrDefault(index);

    public int WriteHvmParam(uint index, ulong value)
    {
        Params[index] = value;
        return 0;
    }

    public void RaiseGuestRequest() => Log.Add("request");

    /// <summary>altp2m of domains beside this one.</summary>
    public Dictionary<ushort, (bool Active, AltP2mMode Mode)> OtherViews { get; } = [];

    /// <summary>Answers of <see cref="AltP2m"/>, one a call; without one, success.</summary>
    public Queue<Errno> AltP2mAnswers { get; } = new();

    public bool TryReadAltP2m(ushort domainId, out bool active, out AltP2mMode mode)
    {
        (active, mode) = domainId == DomainId ? (AltP2mActive, (AltP2mMode)ReadHvmParam(HvmParam.AltP2m)) : OtherViews.GetValueOrDefault(domainId);
        return domainId == DomainId || OtherViews.ContainsKey(domainId);
    }

    public Errno AltP2m(ref HvmAltP2mOp operation)
    {
        Log.Add($"altp2m {operation.Command}");
        operation.DomainState = 1;
        return AltP2mAnswers.TryDequeue(out var answer) ? answer : Errno.None;
    }

    public Errno SetViewAccess(ref HvmAltP2mOp operation)
    {
        ref var lists = ref operation.SetMemAccessMulti;
        Log.Add($"access {lists.Opaque} {lists.PfnList:x} {lists.AccessList:x}");
        lists.Opaque++;
        lists.Nr = 99;
        return AltP2mAnswers.TryDequeue(out var answer) ? answer : Errno.None;
    }

    public void Shutdown(ShutdownReason reason) => Log.Add($"shutdown {reason}");

    public void SetShutdownCode(ShutdownReason reason) => Log.Add($"code {reason}");

    public bool IsRam(ulong gfn) => Ram.Contains(gfn);

    public HvmMemType MemoryType(ulong gfn) => Ram.Contains(gfn) ? HvmMemType.RamRw : HvmMemType.MmioDm;

    public int MapSharedInfo(ulong gfn)
    {
        Log.Add($"shared_info {gfn}");
        return 0;
    }

    public int MapGrantFrame(ulong index, ulong gfn)
    {
        Log.Add($"grant {index} {gfn}");
        return 0;
    }

    public int MoveFrame(ulong fromGfn, ulong toGfn)
    {
        if (!Ram.Remove(fromGfn))
        {
            return -(int)Errno.EINVAL;
        }

        Ram.Add(toGfn);
        return 0;
    }

    public int PopulateFrame(ulong gfn)
    {
        if (TotalPages >= PageLimit)
        {
            return -(int)Errno.ENOMEM;
        }

        return Ram.Add(gfn) ? 0 : -(int)Errno.EINVAL;
    }

    public int RemoveFrame(ulong gfn) => Ram.Remove(gfn) ? 0 : -(int)Errno.ENOENT;

    public int GrowGrantTable(uint frames)
    {
        GrantFrames = Math.Max(GrantFrames, frames);
        return 0;
    }

    public ulong GrantFrameGfn(uint index) => index == 0 ? 0x99 : ulong.MaxValue;

    public void FlushTlbs() => Log.Add("flush");

    public void Yield() => Log.Add("yield");

    public void Block() => Log.Add("block");

    public void BlockInPoll() => Log.Add("poll");

    public bool IsVcpuUp(uint vcpuId) => Up.Contains(vcpuId);

    public int InitialiseVcpu(uint vcpuId, in VcpuHvmContext context)
    {
        Log.Add($"init {vcpuId} mode {context.Mode} eip {context.X86_32.Eip:x}");
        return 0;
    }

    public int BringVcpuUp(uint vcpuId)
    {
        Up.Add(vcpuId);
        return 0;
    }

    public void TakeVcpuDown(uint vcpuId) => Up.Remove(vcpuId);

    public Runstate ReadRunstate(uint vcpuId) => new(0, 11, 22, 33, 44, 55 + vcpuId);

    public int MoveVcpuInfo(uint vcpuId, ulong gfn, uint offset)
    {
        Log.Add($"vcpu_info {vcpuId} {gfn} {offset}");
        Pages.Registered[vcpuId] = new byte[64];
        return 0;
    }

    public void RegisterRunstateArea(uint vcpuId, ulong linearAddress, bool is64) =>
        Log.Add($"runstate {vcpuId} {linearAddress:x} {(is64 ? 64 : 32)}");

    public void RegisterTimeArea(uint vcpuId, ulong linearAddress) => Log.Add($"time {vcpuId} {linearAddress:x}");

    public void RefreshTime(uint vcpuId) => Log.Add($"refresh {vcpuId}");

    public void SendNmi(uint vcpuId) => Log.Add($"nmi {vcpuId}");

    public void SetUpcallVector(uint vcpuId, byte vector) => Log.Add($"vector {vcpuId} {vector:x}");

    void IDomainTimerHost.PollTimedOut(uint vcpuId) => Log.Add($"timeout {vcpuId}");

    void IDomainTimerHost.WatchdogFired() => Log.Add("watchdog");

    void IDomainTimerHost.DeadlineChanged()
    {
    }

    private static bool Inside(ulong address, int length) =>
        address >= Base && address + (ulong)length <= Base + Size;

    private HypercallResult GuestHypercalls(HypercallArguments arguments) =>
        Core.Hypercalls.Guest.GuestHypercalls.Dispatch(in arguments, this);
}
