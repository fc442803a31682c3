using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Pump;

/// <summary>A pump on a mock domain.</summary>
internal sealed class PumpRig : IDisposable
{
    public PumpRig(params TestHandler[] handlers)
        : this(new PumpOptions(), [.. handlers.Select(handler => new HandlerRegistration(handler))])
    {
    }

    public PumpRig(PumpOptions options, params HandlerRegistration[] handlers)
    {
        Pump = new(Domain, handlers, options, Diagnostics);
    }

    public MockDomain Domain { get; } = new();

    public MockMonitor Monitor => Domain.Monitor;

    public RecordingDiagnostics Diagnostics { get; } = new();

    public EventPump Pump { get; }

    /// <summary>A handler for CPUID and CR4, which most tests use.</summary>
    public static TestHandler Handler(string name, Verdict verdict) => new(name, Subscribe, verdict);

    public static TestHandler Handler(string name, HandleEvent handle) => new(name, Subscribe, handle);

    public static void Subscribe(SubscriptionBuilder subscription) =>
        subscription.Cpuid().ControlRegister(ControlRegisterIndex.Cr4, mayDeny: true);

    public static VmEvent Cr4Write(uint vcpu = 0) => Requests.ControlRegister(ControlRegisterIndex.Cr4, 0x300000, 0, vcpu);

    public PumpRig Start()
    {
        Pump.Start();
        return this;
    }

    /// <summary>Pushes requests for one wake-up and waits for their answers.</summary>
    public IReadOnlyList<VmEvent> Exchange(params VmEvent[] requests)
    {
        var before = Monitor.ResponseCount;
        Monitor.PushAll(requests);
        Monitor.WaitForResponses(before + requests.Length);
        return [.. Monitor.Responses.Skip(before)];
    }

    /// <summary>How the pump ended, which it does by itself or was told to.</summary>
    public PumpEnd WaitForEnd()
    {
        Assert.True(Pump.Completion.Wait(TimeSpan.FromSeconds(30)), "the pump does not end");
        return Pump.Completion.Result;
    }

    /// <summary>Stops, so that all records are there, and reads them.</summary>
    public List<EventRecord> DrainRecords()
    {
        Pump.Stop();
        return ReadRecords();
    }

    /// <summary>Reads the records that are there; those of the last answers may still be on their way.</summary>
    public List<EventRecord> ReadRecords()
    {
        var records = new List<EventRecord>();
        while (Pump.Records.TryRead(out var record))
        {
            records.Add(record);
        }

        return records;
    }

    /// <summary>Nothing of the pump is left on the domain, and the protocol was kept.</summary>
    public void AssertNothingIsLeft(bool disposed = true)
    {
        Assert.Empty(Monitor.Breaches);
        Assert.Empty(Monitor.Enabled);
        Assert.Empty(Monitor.Access);
        Assert.Equal(0, Monitor.Unanswered);
        Assert.Equal(0, Monitor.Unnotified);
        Assert.Equal(0, Domain.PauseCount);
        Assert.All(Domain.Holds, holds => Assert.Equal(0, holds));
        Assert.Equal(disposed, Monitor.IsDisposed);
        Assert.All(Enumerable.Range(0, Domain.VcpuCount), vcpu => Assert.False(Monitor.IsStepping((uint)vcpu)));
    }

    public void Dispose() => Pump.Dispose();
}
