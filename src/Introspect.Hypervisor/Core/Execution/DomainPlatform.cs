using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.Platform.Apic;
using Introspect.Hypervisor.Core.Policies;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>What a domain's platform is made with.</summary>
internal sealed record PlatformOptions
{
    /// <summary>What the virtual TSC follows.</summary>
    public ClockSource Clock { get; init; } = ClockSource.Host;

    /// <summary>TSC frequency told to the guest, in Hz.</summary>
    public ulong TscFrequency { get; init; } = VirtualClock.DefaultFrequency;

    /// <summary>CPU features told; null is all that the interpreter implements.</summary>
    public CpuFeatureSet? Features { get; init; }

    /// <summary>Accept the forced emulation prefix (Xen's <c>hvm_fep</c>).</summary>
    public bool ForcedEmulationPrefix { get; init; } = true;

    /// <summary>Where time and chance come from.</summary>
    public IOutsideWorld World { get; init; } = HostWorld.Instance;

    /// <summary>The vCPUs run on one thread by turns, and time follows their instructions. A domain can ask for it by itself.</summary>
    public bool Interleaved { get; init; }

    /// <summary>Where the enlightenments of domains that have some differ from Xen's.</summary>
    public ViridianOptions Viridian { get; init; } = ViridianOptions.Default;
}

/// <summary>A domain's devices: CPU policy, clock, console, event channels, timers, shared pages.</summary>
internal sealed partial class DomainPlatform : IDomainPlatform, ISharedPages, IEventChannelHost, IDomainTimerHost
{
    private const int VcpuInfoBytes = 64;

    // What a domain finds that is to be the same in every run: a date and a seed.
    private const ulong RepeatableStart = 1_700_000_000_000_000_000;
    private const ulong RepeatableSeed = 1;

    private CpuidConfiguration _cpuid;
    private readonly ulong[] _registeredInfo;
    private readonly object _timerGate = new();
    private readonly Thread _timerThread;
    private bool _timerChanged;
    private bool _stopped;

    public DomainPlatform(Domain domain, PlatformOptions options)
    {
        Domain = domain;
        Options = options;
        _cpuid = new CpuidConfiguration
        {
            Vendor = domain.Personality.Vendor,
            Features = FeaturesOf(domain, options),
            DomainId = domain.Id.Value,
            VcpuCount = (int)domain.MaxVcpus,
            TscFrequency = options.TscFrequency,
            PhysicalAddressBits = Cpu.Mmu.PhysicalBits,
        };
        Policy = new CpuidPolicy(_cpuid);
        Msrs = MakeMsrs();
        IsInterleaved = options.Interleaved || (domain.Config.Arch.MiscFlags & CoreDomainFlags.Interleaved) != 0;
        World = IsInterleaved && ReferenceEquals(options.World, HostWorld.Instance) ? new RepeatableWorld(RepeatableStart, RepeatableSeed) : options.World;
        Clock = new VirtualClock(IsInterleaved ? ClockSource.Instructions : options.Clock, options.TscFrequency, World);
        Console = new GuestConsole();
        Shared = new SharedInfoPage(this);
        Events = new EventChannelTable(domain.Id.Value, Shared, this);
        Timers = new DomainTimers(domain.MaxVcpus, Events, this) { Apics = CreateApics(domain) };
        Grants = new GrantFrames(domain);
        Store = new GuestStore(this);
        _registeredInfo = new ulong[domain.MaxVcpus];
        _registeredInfoGfn = new ulong[domain.MaxVcpus];
        Shared.WriteWallClock(Clock.WallClockBase);
        ConnectConsole();
        AddSections();
        domain.SetParam(HvmParam.TripleFaultReason, (ulong)ShutdownReason.Reboot);
        _timerThread = new Thread(RunTimers) { IsBackground = true, Name = $"d{domain.Id.Value} timers" };
        if (!IsInterleaved)
        {
            _timerThread.Start();
        }
    }

    public Domain Domain { get; }

    public PlatformOptions Options { get; private set; }

    /// <summary>Where its time, its chance and its turns come from.</summary>
    public IOutsideWorld World { get; }

    public CpuidPolicy Policy { get; private set; }

    public MsrFile Msrs { get; private set; }

    public VirtualClock Clock { get; }

    public GuestConsole Console { get; }

    public SharedInfoPage Shared { get; }

    public EventChannelTable Events { get; }

    public DomainTimers Timers { get; }

    /// <summary>The local APICs, or null in a domain that was created without their emulation.</summary>
    public LocalApicBus? Apics => Timers.Apics;

    public GrantFrames Grants { get; }

    /// <summary>Its way to the machine's store.</summary>
    public GuestStore Store { get; }

    /// <summary>Keeps the reason for the shutdown that follows, if there is none yet. What Xen has for none stays none.</summary>
    public void KeepShutdownReason(ShutdownReason reason) => KeptShutdownReason ??= reason == ShutdownReason.None ? null : reason;

    /// <summary>The reason was for the shutdown that was: the next one has its own (<c>domain_resume</c>).</summary>
    public void Resumed() => KeptShutdownReason = null;

    /// <summary>Reason kept by SHUTDOWN_CODE for the shutdown that follows.</summary>
    public ShutdownReason? KeptShutdownReason { get; set; }

    /// <summary>The guest shuts down: for the reason that it told before, if it did, whatever this one is.</summary>
    public void ShutDown(ShutdownReason reason) => Domain.Shutdown(KeptShutdownReason ?? reason);

    /// <summary>Memory map for XENMEM_memory_map; empty when the builder gave none.</summary>
    public E820Entry[] MemoryMap { get; set; } = [];

    /// <inheritdoc/>
    public void SetMemoryMap(ReadOnlySpan<E820Entry> map) => MemoryMap = map.ToArray();

    /// <summary>Runstate areas tell when they change.</summary>
    public bool RunstateUpdateFlag { get; set; }

    uint IEventChannelHost.VcpuCount => Domain.MaxVcpus;

    /// <inheritdoc/>
    public Span<byte> SharedInfo => Domain.Machine.Memory.RestOfPage(Domain.SharedInfoAddress);

    /// <inheritdoc/>
    public Span<byte> RegisteredVcpuInfo(uint vcpuId)
    {
        var address = Volatile.Read(ref _registeredInfo[vcpuId]);
        return address == 0 ? default : Domain.Machine.Memory.RestOfPage(address)[..VcpuInfoBytes];
    }

    /// <summary>True when the vCPU moved its vcpu_info already.</summary>
    public bool HasRegisteredVcpuInfo(uint vcpuId) => Volatile.Read(ref _registeredInfo[vcpuId]) != 0;

    /// <inheritdoc/>
    public IVcpuRunner CreateRunner(Vcpu vcpu) => new VcpuRunner(vcpu, this);

    /// <inheritdoc/>
    public Errno HvmParamSet(uint index, ulong value)
    {
        if (index == HvmParam.Viridian)
        {
            return SetViridian(value);
        }

        if (index == HvmParam.StorePfn)
        {
            Store.Connect();
        }

        if (index == HvmParam.ConsolePfn)
        {
            Store.TellConsole();
        }

        if (index == HvmParam.CallbackIrq)
        {
            // The guest says how it wants to be called; its mode decides the layout of what it reads then.
            var runner = Domain.FindVcpu(0)?.Runner as VcpuRunner;
            Shared.Latch(runner?.IsLongMode ?? true);
        }

        return Errno.None;
    }

    /// <inheritdoc/>
    public Errno AllocateMonitorPort(out uint port) =>
        (Errno)(-Events.AllocateUnboundForXen(remoteDomain: BootDomain.Number, vcpuId: 0, NoPeer.Instance, out port));

    /// <inheritdoc/>
    public void FreeMonitorPort(uint port) => Events.Close(port, byGuest: false);

    /// <inheritdoc/>
    public int ReadConsole(ref ulong position, Span<byte> destination)
    {
        DrainConsoleRing();
        return Console.Read(ref position, destination);
    }

    /// <summary>Takes what the guest put into its PV console ring.</summary>
    public void DrainConsoleRing()
    {
        var gfn = Domain.GetParam(HvmParam.ConsolePfn);
        var entry = gfn == 0 ? default : Domain.Pages.Find(gfn, write: true);
        if (entry.IsPresent && PvConsoleRing.Drain(Domain.Machine.Memory.RestOfPage(entry.MachineAddress), Console))
        {
            var port = (uint)Domain.GetParam(HvmParam.ConsoleEvtchn);
            if (port != 0)
            {
                Events.Signal(port);
            }
        }
    }

    /// <inheritdoc/>
    public void Upcall(uint vcpuId)
    {
        if (Domain.FindVcpu(vcpuId) is { } vcpu)
        {
            (vcpu.Runner as VcpuRunner)?.AssertUpcall();
            vcpu.ClearFlag(VcpuPauseFlags.Blocked);
            vcpu.Kick();
        }
    }

    /// <inheritdoc/>
    public void WakePoller(uint vcpuId) => Domain.FindVcpu(vcpuId)?.ClearFlag(VcpuPauseFlags.Blocked);

    /// <inheritdoc/>
    public void PollTimedOut(uint vcpuId) => WakePoller(vcpuId);

    /// <inheritdoc/>
    public void WatchdogFired() => Domain.Shutdown(ShutdownReason.Watchdog);

    /// <inheritdoc/>
    public void DeadlineChanged()
    {
        lock (_timerGate)
        {
            _timerChanged = true;
            Monitor.PulseAll(_timerGate);
        }
    }

    /// <summary>A vCPU blocks or runs: with a clock that follows instructions, time may have to be skipped.</summary>
    public void VcpuBlocked() => DeadlineChanged();

    /// <inheritdoc/>
    public void Stop()
    {
        lock (_timerGate)
        {
            _stopped = true;
            Monitor.PulseAll(_timerGate);
        }

        if (!IsInterleaved)
        {
            _timerThread.Join();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Store.Disconnect();
        UnregisterVcpuInfos();
        Grants.Dispose();
    }

    private MsrFile MakeMsrs() => new(Policy) { OffersCpuidFaulting = DomainPolicies.MayFaultCpuid(Domain.Roles) };

    private static bool EmulatesApic(Domain domain) =>
        (domain.Config.Arch.EmulationFlags & X86EmulationFlags.Lapic) != 0;

    private static CpuFeatureSet? FeaturesOf(Domain domain, PlatformOptions options)
    {
        // The real CPU is what the core implements, an invariant TSC with it.
        var features = DomainPolicies.SeesRealCpuid(domain.Roles) ? null : options.Features;
        return EmulatesApic(domain) ? features : (features ?? CpuFeatures.Implemented).Without(CpuFeature.Apic);
    }

    private static LocalApicBus? CreateApics(Domain domain)
    {
        if (!EmulatesApic(domain))
        {
            return null;
        }

        var apics = new LocalApicBus(domain.MaxVcpus);
        domain.ContextSections.Add(new LapicSection(apics, vcpu => (domain.FindVcpu(vcpu)?.Runner as VcpuRunner)?.ApicLoaded()));
        domain.ContextSections.Add(new LapicRegistersSection(apics));
        return apics;
    }

    /// <summary>
    /// The ports that a toolstack gives a domain for xenstore and its console. The core answers on both itself, as xenstored
    /// and xenconsoled would.
    /// </summary>
    private void ConnectConsole()
    {
        Store.TakePort();
        if (Events.AllocateUnbound(remoteDomain: BootDomain.Number, out var console) == 0
            && Events.Connect(console, remoteDomain: BootDomain.Number, remotePort: console, new ConsoleReader(this)) == 0)
        {
            Domain.SetParam(HvmParam.ConsoleEvtchn, console);
        }
    }

    // Deadlines are in guest time; the thread only decides when to look at them.
    private void RunTimers()
    {
        while (true)
        {
            lock (_timerGate)
            {
                if (!_timerChanged && !_stopped)
                {
                    Monitor.Wait(_timerGate, UntilNextDeadline());
                }

                _timerChanged = false;
                if (_stopped)
                {
                    return;
                }
            }

            SkipIdleTime();
            Timers.Expire(Clock.Nanoseconds);
        }
    }

    private TimeSpan UntilNextDeadline()
    {
        var deadline = Timers.NextDeadline;
        if (deadline == ulong.MaxValue)
        {
            return Timeout.InfiniteTimeSpan;
        }

        var now = Clock.Nanoseconds;
        var nanoseconds = deadline > now ? deadline - now : 0;

        // A clock that follows instructions moves only while they run: look again soon.
        var most = Clock.Source == ClockSource.Instructions ? 1_000_000UL : 60_000_000_000UL;
        return TimeSpan.FromTicks((long)(Math.Min(nanoseconds, most) / 100) + 1);
    }

    private void SkipIdleTime()
    {
        var deadline = Timers.NextDeadline;
        if (Clock.Source == ClockSource.Instructions && deadline != ulong.MaxValue && Domain.PauseCount == 0
            && Domain.Vcpus.All(vcpu => vcpu.Flags != VcpuPauseFlags.None))
        {
            Clock.SkipTo(Clock.ToCycles(deadline));
        }
    }

    /// <summary>The far end of the guest's console port.</summary>
    private sealed class ConsoleReader(DomainPlatform platform) : IEventChannelPeer
    {
        public void Signal()
        {
            platform.DrainConsoleRing();
            platform.FillConsoleRing();
        }
    }

    /// <summary>The hypervisor's end of the monitor's port: signals take another way, see <c>MonitorPort</c>.</summary>
    private sealed class NoPeer : IEventChannelPeer
    {
        public static readonly NoPeer Instance = new();

        public void Signal()
        {
        }
    }
}
