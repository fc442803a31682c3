using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Tests.Domains;

/// <summary>A platform without devices whose vCPUs do what a test tells them.</summary>
internal sealed class FakePlatform(Domain domain) : IDomainPlatform
{
    private readonly HashSet<uint> _ports = [];

    /// <summary>Platforms by domain number, so that a test finds the one of a domain made through the door.</summary>
    public static readonly ConcurrentDictionary<Domain, FakePlatform> All = new();

    public List<FakeRunner> Runners { get; } = [];

    public Domain Domain => domain;

    public int PortsTaken => _ports.Count;

    public bool Stopped { get; private set; }

    public static MachineOptions Options(long reservation = 1L << 32) => new(
        domain =>
        {
            var platform = new FakePlatform(domain);
            All[domain] = platform;
            return platform;
        },
        reservation);

    public IVcpuRunner CreateRunner(Vcpu vcpu)
    {
        var runner = new FakeRunner(vcpu);
        Runners.Add(runner);
        return runner;
    }

    public Errno HvmParamSet(uint index, ulong value) => Errno.None;

    public Errno AllocateMonitorPort(out uint port)
    {
        port = 1;
        while (!_ports.Add(port))
        {
            port++;
        }

        return Errno.None;
    }

    public void FreeMonitorPort(uint port) => _ports.Remove(port);

    public int ReadConsole(ref ulong position, Span<byte> destination) => 0;

    public void Stop() => Stopped = true;

    public void Dispose() => All.TryRemove(domain, out _);
}

/// <summary>A vCPU that stays in the guest until it is kicked, or until a test gives it something to do.</summary>
internal sealed unsafe class FakeRunner : IVcpuRunner
{
    private readonly CpuState* _state = (CpuState*)NativeMemory.AllocZeroed((nuint)sizeof(CpuState));
    private readonly BlockingCollection<Action<Vcpu>> _commands = [];

    public FakeRunner(Vcpu vcpu)
    {
        Vcpu = vcpu;
        _state->Cr0 = 0x10;
    }

    public Vcpu Vcpu { get; }

    public ref CpuState State => ref *_state;

    public ulong Rflags { get; set; } = 2;

    public ulong Tsc { get; set; }

    public List<VmEvent> Responses { get; } = [];

    public List<DmOpInjectEvent> Injected { get; } = [];

    public List<ulong> DroppedCode { get; } = [];

    public int StateReplacements { get; private set; }

    public int MonitorChanges { get; private set; }

    public bool HasMonitor { get; private set; }

    public bool Refuses { get; set; }

    public int FlushesSeen { get; private set; }

    /// <summary>Lets the vCPU do something in its next run.</summary>
    public void Do(Action<Vcpu> command) => _commands.Add(command);

    /// <summary>Lets the vCPU do something and waits until it did.</summary>
    public void DoAndWait(Action<Vcpu> command)
    {
        using var done = new ManualResetEventSlim();
        Do(vcpu =>
        {
            command(vcpu);
            done.Set();
        });
        Assert.True(done.Wait(TimeSpan.FromSeconds(30)), "the vCPU did not run");
    }

    public void BeforeEntry()
    {
    }

    public ulong Retired => 0;

    public bool TakeYield() => false;

    public bool Run(long instructions)
    {
        while ((Volatile.Read(ref _state->Async) & (uint)AsyncEvents.Kick) == 0)
        {
            if (_commands.TryTake(out var command, millisecondsTimeout: 1))
            {
                command(Vcpu);
                return true;
            }
        }

        var seen = (AsyncEvents)Interlocked.Exchange(ref _state->Async, 0);
        FlushesSeen += (seen & AsyncEvents.FlushTlb) != 0 ? 1 : 0;
        return false;
    }

    public void StateReplaced() => StateReplacements++;

    public ulong SupportedXcr0 => 3;

    public bool IsLoadable(in HvmHwCpu context) => !Refuses;

    public Errno InjectEvent(in DmOpInjectEvent injected)
    {
        if (Injected.Count != 0)
        {
            return Errno.EBUSY;
        }

        Injected.Add(injected);
        return Errno.None;
    }

    public void DropCode(ulong machinePage) => DroppedCode.Add(machinePage);

    public void MonitorStateChanged() => MonitorChanges++;

    public void MonitorAttached() => HasMonitor = true;

    public void MonitorDetached() => HasMonitor = false;

    public void ApplyResponse(in VmEvent response)
    {
        Responses.Add(response);
        if ((response.Flags & VmEventFlags.SetRegisters) != 0)
        {
            Rflags = response.Registers.Rflags;
        }
    }

    public void Dispose() => NativeMemory.Free(_state);
}
