using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Core;

/// <summary>
/// Handlers that change while the guest runs, on the real core: the guest's own count of what it did is the number of
/// events that were judged.
/// </summary>
public sealed class ChangeUnderLoadTests
{
    private const int Changes = 300;

    [Fact]
    public void No_event_is_missed_and_none_is_judged_twice_across_hundreds_of_changes()
    {
        using var machine = CountingGuest.CreateMachine();
        using var domain = machine.Open(CountingGuest.Build(machine));
        var judge = new Judge();
        using (var pump = new EventPump(domain, judge.Handlers(0), new PumpOptions { RecordPolicy = RecordPolicy.None }))
        {
            pump.Start();
            domain.Unpause();
            for (var i = 1; i <= Changes; i++)
            {
                // The guest has done something under each of them.
                var before = pump.Statistics.TotalEvents;
                pump.Apply(pump.Prepare(judge.Handlers(i)));
                Assert.True(SpinWait.SpinUntil(() => pump.Statistics.TotalEvents > before + 3, TimeSpan.FromSeconds(60)), $"the guest stands still after change {i}");
            }

            CountingGuest.End(domain);
            Assert.Equal(Changes, pump.Statistics.Changes);
            Assert.Equal(0, pump.Statistics.FailedOperations);
            Assert.Equal(0, pump.Statistics.MalformedRequests);
        }

        var done = CountingGuest.Read(domain);
        Assert.True(done.Cpuid > Changes);
        Assert.Equal(done, judge.Seen);
        Assert.Equal(0, domain.GetInfo().PauseCount);
    }

    [Fact]
    public void What_comes_and_goes_is_seen_while_it_is_there_and_the_guest_has_its_code_back()
    {
        using var machine = CountingGuest.CreateMachine();
        using var domain = machine.Open(CountingGuest.Build(machine));
        var code = new byte[16];
        domain.Memory.ReadPhysical(CountingGuest.Place, code);
        var cpuid = new TestHandler("cpuid", s => s.Cpuid(), Verdict.Pass);
        var place = new TestHandler("place", s => s.Breakpoint(CountingGuest.Place), Verdict.Pass);
        var page = new TestHandler("page", s => s.Memory(new(CountingGuest.WatchedFrame), 1, MemAccessFlags.Write), Verdict.Pass);
        using var pump = new EventPump(domain, [new(cpuid)], new PumpOptions { RecordPolicy = RecordPolicy.None });
        pump.Start();
        domain.Unpause();
        for (var i = 0; i < 50; i++)
        {
            foreach (var handler in new[] { place, page })
            {
                Until(cpuid, cpuid.Calls + 2);
                pump.Apply(pump.Prepare([new(cpuid), new(handler)]));
                Until(handler, handler.Calls + 2);
                pump.Apply(pump.Prepare([new(cpuid)]));
                var calls = handler.Calls;
                Until(cpuid, cpuid.Calls + 2);
                Assert.Equal(calls, handler.Calls);
            }
        }

        // The guest goes on through places where breakpoints were, and pages that were watched.
        var now = new byte[16];
        domain.Memory.ReadPhysical(CountingGuest.Place, now);
        Assert.Equal(code, now);
        CountingGuest.End(domain);
        pump.Stop();
        Assert.Equal((long)CountingGuest.Read(domain).Cpuid, cpuid.Calls);
        Assert.Equal(0, pump.Statistics.FailedOperations);
        Assert.Equal(0, pump.Statistics.InjectedTraps);

        static void Until(TestHandler handler, int calls) =>
            Assert.True(SpinWait.SpinUntil(() => handler.Calls >= calls, TimeSpan.FromSeconds(60)), $"{handler.Name} sees nothing");
    }

    /// <summary>Counts what it sees, under ever other subscriptions that all have the same core.</summary>
    private sealed class Judge
    {
        private CountingGuest.Counts _seen;

        public CountingGuest.Counts Seen => _seen;

        public IEnumerable<HandlerRegistration> Handlers(int number)
        {
            yield return new(new TestHandler($"judge-{number % 3}", s => Subscribe(s, number), Count), Order: number % 2);
            if (number % 4 == 1)
            {
                yield return new(new TestHandler("beside", s => s.ControlRegister(ControlRegisterIndex.Cr3, sync: false).DebugException().Singlestep(), Verdict.Pass));
            }
        }

        private static void Subscribe(SubscriptionBuilder subscription, int number)
        {
            subscription
                .Cpuid()
                .Msr(CountingGuest.Msr, onChangeOnly: number % 2 == 0, mayDeny: number % 5 == 0)
                .ControlRegister(ControlRegisterIndex.Cr4, number % 3 == 0 ? 4UL : ulong.MaxValue, sync: number % 2 == 0)
                .Breakpoint(CountingGuest.Place)
                .Memory(new(CountingGuest.WatchedFrame), 1, MemAccessFlags.Write)
                .Memory(new(CountingGuest.ReadFrame), number % 2 == 0 ? 1u : 4u, number % 7 == 0 ? MemAccessFlags.Read | MemAccessFlags.Write : MemAccessFlags.Read);
            if (number % 3 == 1)
            {
                // A place that the guest never comes to, and a page that it never touches.
                subscription.Breakpoint(new(0x30000)).Memory(new(0x40), 8, MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.Execute);
            }

            if (number % 6 == 2)
            {
                subscription.GuestRequest().DescriptorAccess();
            }
        }

        private Verdict Count(ref readonly VmEvent request, ref HandlerContext context)
        {
            _seen = request.Reason switch
            {
                VmEventReason.Cpuid => _seen with { Cpuid = _seen.Cpuid + 1 },
                VmEventReason.MovToMsr => _seen with { Msr = _seen.Msr + 1 },
                VmEventReason.WriteCtrlreg => _seen with { Cr4 = _seen.Cr4 + 1 },
                VmEventReason.SoftwareBreakpoint => _seen with { Place = _seen.Place + 1 },
                VmEventReason.MemAccess when request.MemAccess.Gfn == CountingGuest.WatchedFrame => _seen with { Write = _seen.Write + 1 },
                VmEventReason.MemAccess => _seen with { Read = _seen.Read + 1 },
                _ => _seen,
            };
            return Verdict.Pass;
        }
    }
}
