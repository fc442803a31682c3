using Iced.Intel;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Handlers;
using Introspect.Rules.Language;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;
using Introspect.Rules.Tests.Mocks;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Rules.Tests.Core;

/// <summary>The rules that are shipped, each against a guest on the core that does what the rule is about.</summary>
public sealed class StartingRulesTests
{
    private const int Lstar = unchecked((int)0xc0000082), Efer = unchecked((int)0xc0000080);
    private const int Smep = 20, Smap = 21, WriteProtect = 16, NoExecute = 11;

    // What an operator says of his guest.
    private static readonly SourceText OwnLists = new("90-own.yaml", $"""
        lists:
          kernel_text_frames: [0x{ActingGuest.EmptyFrame:x}]
          data_frames: [0x{ActingGuest.EmptyFrame:x}]
          protected_frames: [0x{ActingGuest.OtherFrame:x}]
          known_processes: [0x{ActingGuest.FirstRoot:x}]
        """);

    private static readonly Dictionary<string, Action<Assembler>> Acts = new()
    {
        ["smep_cleared"] = code => ClearCr4(code, Smep),
        ["smap_cleared"] = code => ClearCr4(code, Smap),
        ["write_protect_cleared"] = code =>
        {
            code.mov(rax, cr0);
            code.btr(rax, WriteProtect);
            code.mov(cr0, rax);
        },
        ["nx_cleared"] = code =>
        {
            code.mov(ecx, Efer);
            code.rdmsr();
            code.btr(eax, NoExecute);
            code.wrmsr();
        },
        ["syscall_entry_moved"] = code => WriteLstar(code, 0x5000),
        ["idt_moved"] = code => code.lidt(__[ActingGuest.IdtPointer]),
        ["gdt_moved"] = code => code.lgdt(__[ActingGuest.GdtPointer]),
        ["kernel_text_written"] = code =>
        {
            code.mov(rbx, (long)ActingGuest.EmptyFrame << 12);
            code.mov(__byte_ptr[rbx + 8], 0x90);
        },
        ["written_page_executed"] = code =>
        {
            const int Return = 0xc3;
            code.mov(rbx, (long)ActingGuest.EmptyFrame << 12);
            code.mov(__byte_ptr[rbx], Return);
            code.call(rbx);
        },
        ["unknown_process_on_protected_range"] = code =>
        {
            code.mov(rax, (long)ActingGuest.SecondRoot);
            code.mov(cr3, rax);
            code.mov(rbx, (long)ActingGuest.OtherFrame << 12);
            code.mov(rax, __qword_ptr[rbx]);
        },
        ["debug_registers_used"] = code =>
        {
            var place = code.CreateLabel();
            code.lea(rax, __[place]);
            code.mov(dr0, rax);
            code.mov(eax, 0x401);
            code.mov(dr7, rax);
            code.Label(ref place);
            code.nop();
        },
    };

    public static TheoryData<string> Rules => [.. Shipped().Names];

    [Theory]
    [MemberData(nameof(Rules))]
    public void a_guest_that_does_it_is_told_of(string rule)
    {
        var alerts = Watch(code =>
        {
            Boot(code);
            Acts[rule](code);
        });

        // Writing to the page that is run later is what another rule of the same page is about.
        var others = rule == "written_page_executed" ? ["kernel_text_written"] : Array.Empty<string>();
        Assert.Equal(others.Append(rule), alerts.Select(alert => alert.Rule));
        var alert = alerts[^1];
        Assert.Equal("acting", alert.DomainName);
        Assert.DoesNotContain("?", alert.Message, StringComparison.Ordinal);
        Assert.Contains($"rip=0x{alert.Event.Registers.Rip:x}", alert.Message, StringComparison.Ordinal);
        Assert.NotEmpty(alert.Tags);
    }

    [Fact]
    public void a_guest_that_boots_and_behaves_is_not_told_of() => Assert.Empty(Watch(code =>
    {
        Boot(code);

        // What an operating system goes on doing: switch protections on, change processes, read and run what is its own.
        code.mov(rax, cr4);
        code.mov(cr4, rax);
        code.mov(rax, cr0);
        code.mov(cr0, rax);
        WriteLstar(code, 0x4000);
        code.mov(rbx, (long)ActingGuest.OtherFrame << 12);
        code.mov(rax, __qword_ptr[rbx]);
        code.mov(rax, (long)ActingGuest.SecondRoot);
        code.mov(cr3, rax);
        code.mov(rbx, (long)ActingGuest.EmptyFrame << 12);
        code.mov(rax, __qword_ptr[rbx]);
    }));

    [Fact]
    public void there_is_a_guest_for_every_rule() => Assert.Equal(Acts.Keys.Order(), Shipped().Names.Order());

    [Fact]
    public void without_lists_of_the_operators_no_page_is_watched()
    {
        var rules = new DomainRules(Shipped(), new MockDomain(), new AlertChannel());
        var builder = new SubscriptionBuilder("rules");
        rules.Handler.Subscribe(builder);
        var plan = SubscriptionPlan.Make([("rules", builder.Build())], (MonitorCapabilities)0x3fff);
        Assert.True(plan.Rights.IsEmpty);
        Assert.Equal(
            [
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0, false, true, 1UL << WriteProtect),
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4, false, true, 3UL << Smep),
            ],
            plan.Events.OfType<MonitorEvent.ControlRegister>());
    }

    private static RuleSet Shipped(params SourceText[] own)
    {
        var diagnostics = new DiagnosticBag();
        var files = RuleFileLoader.FilesOf(Repository.PathOf("deploy", "rules"), diagnostics);
        var set = RuleFileLoader.Load(files.Select(file => new SourceText(Path.GetFileName(file), File.ReadAllText(file))).Concat(own), diagnostics);
        Assert.Empty(diagnostics.All);
        return set;
    }

    private static List<AlertRecord> Watch(Action<Assembler> acts)
    {
        using var guest = new ActingGuest(acts);
        var clock = new ManualClock();
        var channel = new AlertChannel();
        var rules = new DomainRules(Shipped(OwnLists), guest.Domain, channel, clock: clock);

        // A minute has passed when the guest says that it has booted.
        var booted = new TestHandler("booted", subscription => subscription.Cpuid(), (ref readonly VmEvent request, ref HandlerContext context) =>
        {
            if (request.Cpuid.Leaf == ActingGuest.BootedLeaf)
            {
                clock.Advance(TimeSpan.FromSeconds(61));
            }

            return Verdict.Pass;
        });
        using (var pump = new EventPump(guest.Domain, [new(rules.Handler), new(booted)], new PumpOptions { RecordPolicy = RecordPolicy.None }))
        {
            pump.Start();
            guest.Run();
            pump.Stop();
            Assert.Equal(0, pump.Statistics.FailedOperations);
            Assert.Equal(0, pump.Statistics.HandlerFailures);
        }

        channel.Complete();
        var alerts = new List<AlertRecord>();
        while (channel.Reader.TryRead(out var alert))
        {
            alerts.Add(alert);
        }

        return alerts;
    }

    // What every boot does: tables are loaded, and the system call entry is set for the first time.
    private static void Boot(Assembler code)
    {
        code.lgdt(__[ActingGuest.GdtPointer]);
        code.lidt(__[ActingGuest.IdtPointer]);
        WriteLstar(code, 0x4000);
        code.mov(eax, ActingGuest.BootedLeaf);
        code.cpuid();
    }

    private static void WriteLstar(Assembler code, int value)
    {
        code.mov(ecx, Lstar);
        code.mov(eax, value);
        code.xor(edx, edx);
        code.wrmsr();
    }

    private static void ClearCr4(Assembler code, int bit)
    {
        code.mov(rax, cr4);
        code.btr(rax, (byte)bit);
        code.mov(cr4, rax);
    }
}
