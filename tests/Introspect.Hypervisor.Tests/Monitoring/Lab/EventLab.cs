using System.Diagnostics;
using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Tests.Monitoring.Lab;

/// <summary>What a test makes of an event: the response is the request's echo until it is changed.</summary>
internal delegate void Answer(int number, in VmEvent request, ref VmEvent response);

/// <summary>
/// One small guest on a machine of its own, and a monitor of it. The guest runs a program until HLT; every event is
/// kept and answered on the test's thread.
/// </summary>
internal sealed class EventLab : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly Machine _machine;
    private readonly DomainUnderConstruction _built;
    private readonly CoreHypervisor _hypervisor;
    private bool _started;

    public EventLab(Action<Assembler> program, CpuVendor vendor = CpuVendor.Vmx, MonitoringOptions? options = null, bool user = false)
    {
        _machine = new Machine(new MachineOptions(static d => new DomainPlatform(d, new PlatformOptions { Features = CpuFeatures.Implemented.With(CpuFeature.Pcid) }), 1L << 32)
        {
            Monitoring = options ?? MonitoringOptions.Default,
        });
        Toolstack = new LocalToolstack(_machine, ToolstackCaller.Control);
        _built = DomainUnderConstruction.Create(Toolstack, new DomainConfig { Name = "lab", MemoryBytes = LabMemory.Bytes, Vendor = vendor });
        LabMemory.Fill(_built, program);
        var state = LabMemory.FirstState(user);
        _built.Start(in state);
        _hypervisor = new CoreHypervisor(Toolstack);
        Domain = _hypervisor.Open(_built.Id);
        Monitor = Domain.EnableMonitor();
    }

    public LocalToolstack Toolstack { get; }

    public IDomain Domain { get; }

    public IMonitor Monitor { get; }

    /// <summary>The hypervisor's own view.</summary>
    public Domain Inside => _machine.Find(_built.Id.Value)!;

    public Vcpu Vcpu => Inside.Vcpus[0];

    public AnswerFaults Faults => Inside.Monitor.Answers;

    public bool HasEnded => Inside.IsShutDown;

    public List<VmEvent> Events { get; } = [];

    /// <summary>Lets the guest run to its end.</summary>
    /// <param name="answer">Changes the responses; without it each is a bare echo of VCPU_PAUSED.</param>
    /// <param name="limit">More events than this are a failure.</param>
    public List<VmEvent> Run(Answer? answer = null, int limit = 100)
    {
        Start();
        var watch = Stopwatch.StartNew();
        while (!HasEnded || Monitor.UnconsumedRequests > 0)
        {
            Assert.True(watch.Elapsed < Patience, $"the guest did not end; events: {string.Join(", ", Events.Select(e => $"{e.Reason} at {e.Registers.Rip:x}"))}");
            Monitor.Wait(TimeSpan.FromMilliseconds(1), CancellationToken.None);
            while (Monitor.TryTake(out var request))
            {
                Events.Add(request);
                Assert.True(Events.Count <= limit, $"more than {limit} events: {string.Join(", ", Events.Take(12).Select(e => $"{e.Reason} at {e.Registers.Rip:x}"))}");
                var response = Echo(in request);
                answer?.Invoke(Events.Count - 1, in request, ref response);
                Monitor.Respond(in response);
                Monitor.Notify();
            }
        }

        return Events;
    }

    /// <summary>Lets the guest run until it waits for an answer to its next event, which it gives back unanswered.</summary>
    public VmEvent RunToEvent()
    {
        Start();
        var watch = Stopwatch.StartNew();
        VmEvent request;
        while (!Monitor.TryTake(out request))
        {
            Assert.True(watch.Elapsed < Patience && !HasEnded, "the guest sent no event");
            Monitor.Wait(TimeSpan.FromMilliseconds(1), CancellationToken.None);
        }

        Events.Add(request);
        return request;
    }

    public void Start()
    {
        if (!_started)
        {
            _started = true;
            _built.Unpause();
        }
    }

    public void Respond(in VmEvent response)
    {
        Monitor.Respond(in response);
        Monitor.Notify();
    }

    /// <summary>Waits until the guest ended by itself, without answering anything.</summary>
    public void WaitForEnd() => Assert.True(SpinWait.SpinUntil(() => HasEnded, Patience), "the guest did not end");

    /// <summary>A response that says no more than "go on".</summary>
    public static VmEvent Echo(in VmEvent request)
    {
        var response = request;
        response.Flags = request.Flags & VmEventFlags.VcpuPaused;
        return response;
    }

    public ulong Read(ulong address)
    {
        Span<byte> bytes = stackalloc byte[8];
        Domain.Memory.ReadPhysical(new GuestPhysical(address), bytes);
        return BitConverter.ToUInt64(bytes);
    }

    /// <summary>How often the guest took a vector.</summary>
    public ulong Taken(int vector) => Read(LabMemory.Record(vector));

    /// <summary>RIP that the guest saw at the last of a vector.</summary>
    public ulong TakenAt(int vector) => Read(LabMemory.Record(vector) + 8);

    public ulong ErrorCodeOf(int vector) => Read(LabMemory.Record(vector) + 16);

    public ulong Dr6At(int vector) => Read(LabMemory.Record(vector) + 24);

    /// <summary>The vCPU's registers; it must stand still.</summary>
    public ref CpuState Registers => ref Vcpu.Runner.State;

    /// <summary>A general register in encoding order.</summary>
    public ulong Gpr(int number) => ((VcpuRunner)Vcpu.Runner).Cpu.Gpr(number);

    /// <summary>A monitor operation as a tool makes it.</summary>
    public Errno Operate(MonitorOperation operation, MonitorEventKind kind, DomctlMonitorOp arguments = default)
    {
        arguments.Op = operation;
        arguments.Event = (uint)kind;
        var domctl = ToolstackCalls.Domctl(DomctlCommand.MonitorOp, _built.Id.Value);
        domctl.MonitorOp = arguments;
        return new ToolstackCalls(Toolstack).TryCall(ref domctl, default);
    }

    /// <summary>Gives the guest a page more.</summary>
    public void Populate(ulong gfn) => new ToolstackCalls(Toolstack).Populate(_built.Id.Value, [gfn]);

    /// <summary>An operation on the ring as a tool makes it.</summary>
    public Errno Ring(VmEventOperation operation) => new ToolstackCalls(Toolstack).TryRing(_built.Id.Value, operation, out _);

    public void Dispose()
    {
        Monitor.Dispose();
        Domain.Dispose();
        _hypervisor.Dispose();
        _built.Dispose();
        _machine.Dispose();
    }
}
