using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Tests.House;
using Introspect.Rules.Handlers;
using Introspect.Rules.Running;
using Introspect.Rules.Tests.Files;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Running;

/// <summary>What rules cost for each event in memory: nothing, unless something is told.</summary>
public sealed class RuleAllocationTests
{
    private const string Rules = """
        lists: { known: [0x1000, 0x2000..0x2fff] }
        rules:
          - { rule: smep, on: write_ctrlreg, when: register == CR4 and cleared(CR4.SMEP), do: deny }
          - { rule: other, on: write_ctrlreg, when: register == CR4 and changed(CR4.SMEP) and process in $known and cpl == 3 }
          - { rule: counted, on: mov_to_msr, when: msr == LSTAR and new != old, do: [ count, { tag: entry } ], exceptions: [ { name: none, when: rip == 5 } ] }
          - { rule: denied, on: mov_to_msr, when: msr == STAR, do: [ deny, count ] }
          - { rule: limited, on: mov_to_msr, when: msr == CSTAR, rate: { alerts: 1/h, burst: 1 } }
          - { rule: written, on: { mem_access: { pages: [0x10..0x1f], written: true } } }
          - { rule: set, on: cpuid, when: leaf == 1, do: [ count, { set: { rax: rbx } } ] }
        """;

    [Theory]
    [InlineData("no match")]
    [InlineData("no match of an MSR")]
    [InlineData("counted")]
    [InlineData("denied")]
    [InlineData("kept back")]
    [InlineData("written")]
    [InlineData("set")]
    public void an_event_that_is_not_told_allocates_nothing(string what)
    {
        var domain = new MockDomain();
        var rules = new DomainRules(RuleTexts.Load(Rules), domain, new AlertChannel(), clock: new ManualClock());
        var request = what switch
        {
            "no match" => Requests.ControlRegister(ControlRegisterIndex.Cr4, 0, 1 << 20),
            "no match of an MSR" => Requests.Msr(0xc0000082, 5, 5),
            "counted" => Requests.Msr(0xc0000082, 5, 6),
            "denied" => Requests.Msr(0xc0000081, 5, 6),
            "kept back" => Requests.Msr(0xc0000083, 5, 6),
            "set" => Requests.Cpuid(),
            _ => Requests.MemAccess(0x12, MemAccessFlags.Write),
        };

        // The code is made and the first alert told before it counts.
        var asked = 0;
        Assert.Equal(0, Allocation.LeastOf(() => asked += Ask(rules, domain, in request, 2_000)));
        Assert.Equal(what is "no match" or "no match of an MSR" or "written" ? 0 : asked, rules.Statistics.Sum(statistics => statistics.Matches));
    }

    private static int Ask(DomainRules rules, MockDomain domain, in VmEvent request, int times)
    {
        var response = request;
        for (var i = 0; i < times; i++)
        {
            var context = new HandlerContext(domain, in request, ref response, default);
            rules.Handler.Handle(in request, ref context);
        }

        return times;
    }
}
