using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Tests.House;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Pump;

/// <summary>
/// What the pump thread allocates in the steady state, measured by a handler on that very thread: from one event to
/// another some thousand events later, everything between (take, judge, answer, notify, publish) is counted. The least of
/// several such rounds tells, as the runtime allocates for itself now and then (<see cref="Allocation"/>).
/// </summary>
public class AllocationTests
{
    private const int WarmUp = 2_000;
    private const int Measured = 5_000;
    private const int Rounds = 4;

    [Theory]
    [InlineData(RecordPolicy.None)]
    [InlineData(RecordPolicy.DropNewest)]
    public void An_event_allocates_nothing(RecordPolicy policy)
    {
        Assert.Equal(0, Measure(policy, drained: false));
    }

    [Fact]
    public void An_event_whose_record_is_read_allocates_nothing()
    {
        Assert.Equal(0, Measure(RecordPolicy.DropNewest, drained: true));
    }

    private static long Measure(RecordPolicy policy, bool drained)
    {
        long atStart = 0, least = long.MaxValue;
        var count = 0;
        var meter = new TestHandler(
            "meter",
            subscription => subscription.Cpuid().Msr(0x174, mayDeny: true).Memory(new(0x10), 1, MemAccessFlags.Write).SoftwareBreakpoint().ControlRegister(ControlRegisterIndex.Cr4, mayDeny: true),
            (ref readonly VmEvent request, ref HandlerContext context) =>
            {
                if (++count >= WarmUp && (count - WarmUp) % Measured == 0)
                {
                    var now = GC.GetAllocatedBytesForCurrentThread();
                    least = count == WarmUp ? least : Math.Min(least, now - atStart);
                    atStart = now;
                }

                switch (request.Reason)
                {
                    case VmEventReason.Cpuid:
                        context.Registers.Rax = 1;
                        return Verdict.Allow.WithRegisters();
                    case VmEventReason.MovToMsr:
                        return Verdict.Deny;
                    case VmEventReason.WriteCtrlreg:
                        context.Registers.Rax = 1;
                        return Verdict.Pass;
                    default:
                        return Verdict.Pass;
                }
            });
        using var rig = new PumpRig(
            new PumpOptions { RecordPolicy = policy, RecordCapacity = 64, HandlerBudget = TimeSpan.FromSeconds(10) },
            new HandlerRegistration(meter),
            new HandlerRegistration(new LogHandler(subscription => subscription.Cpuid().Msr(0x174))));
        rig.Monitor.IsVerbose = false;
        rig.Monitor.KeepsResponses = false;
        rig.Monitor.OnWait = null;
        VmEvent[] requests =
        [
            Requests.Cpuid(),
            Requests.Msr(0x174, 1, 2),
            PumpRig.Cr4Write(),
            Requests.MemAccess(0x10, MemAccessFlags.Write),
            Requests.Step(),
        ];
        using var stop = new CancellationTokenSource();
        var reader = drained ? Task.Run(() => Drain(rig.Pump, stop.Token)) : Task.CompletedTask;
        rig.Start();
        for (var i = 0; rig.Pump.Statistics.Handlers[0].Calls <= WarmUp + (Rounds * Measured); i++)
        {
            // Always found waiting in the ring or soon there; the guest's side runs on this thread.
            rig.Monitor.Push(in requests[i % requests.Length]);
        }

        stop.Cancel();
        reader.Wait();
        rig.Pump.Stop();
        Assert.True(count > WarmUp + Measured);
        return least;
    }

    private static void Drain(EventPump pump, CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            if (!pump.Records.TryRead(out _))
            {
                Thread.Yield();
            }
        }
    }
}
