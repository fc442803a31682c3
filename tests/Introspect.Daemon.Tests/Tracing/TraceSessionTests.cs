using System.Text;
using System.Text.Json;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Output;
using Introspect.Daemon.Tests.Fakes;
using Introspect.Daemon.Tests.Output;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Pump;

namespace Introspect.Daemon.Tests.Tracing;

public sealed class TraceSessionTests : IDisposable
{
    private readonly FakeHypervisor _hypervisor = new();
    private readonly FakeFactory _factory;
    private readonly FakeDomain _domain;
    private readonly MemoryStream _output = new();

    public TraceSessionTests()
    {
        _factory = new(_hypervisor);
        _domain = _hypervisor.Add(1);
        _factory.Built = _domain.Id;
    }

    public void Dispose()
    {
        _hypervisor.Dispose();
        _output.Dispose();
    }

    [Fact]
    public async Task events_console_and_summary_are_shown_and_the_end_is_the_guests()
    {
        _factory.OnStart = () =>
        {
            Assert.Contains(new MonitorEvent.Cpuid(), _domain.Monitor!.Enabled);
            _domain.Monitor.Send(SampleEvents.Of(VmEventReason.Cpuid));
            _factory.Console.Write("hello\nTest result: SUC");
            _factory.Console.Write("CESS");
            _hypervisor.End(1);
        };
        Assert.Equal(0, await TraceAsync(Request() with { Json = true }));

        var schema = new SchemaChecker(await File.ReadAllTextAsync(Repository.PathOf("docs", "events.schema.json")));
        var lines = Lines();
        Assert.All(lines, line => Assert.Empty(schema.Check(line)));
        var parsed = lines.Select(l => JsonDocument.Parse(l).RootElement).ToList();
        Assert.Equal(1, parsed.Count(p => p.GetProperty("type").GetString() == "event"));
        Assert.Equal(["hello", "Test result: SUCCESS"], parsed.Where(p => p.GetProperty("type").GetString() == "console").Select(p => p.GetProperty("text").GetString()));
        var summary = parsed[^1];
        Assert.Equal(("summary", "poweroff", 1), (summary.GetProperty("type").GetString(), summary.GetProperty("end").GetString(), summary.GetProperty("by_reason").GetProperty("cpuid").GetInt32()));
        AssertLetGo();
    }

    [Fact]
    public async Task text_output_marks_the_console_and_ends_with_the_summary()
    {
        _factory.OnStart = () =>
        {
            _domain.Monitor!.Send(SampleEvents.Of(VmEventReason.Cpuid));
            _factory.Console.Write("tab\there\r\nbell\aescape\e[31m\xff\n");
            _hypervisor.End(1, DomainState.Crash);
        };
        Assert.Equal(0, await TraceAsync(Request()));
        var text = string.Join('\n', Lines());
        Assert.Contains("console | tab\there\n", text, StringComparison.Ordinal);
        // A guest does not get to write to the terminal of who watches it.
        Assert.Contains("console | bell\\x07escape\\x1b[31m", text, StringComparison.Ordinal);
        Assert.Contains("  cpuid  ", text, StringComparison.Ordinal);
        Assert.Contains("ended by crash", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 0)]
    public async Task a_paused_domain_goes_when_it_is_watched_and_only_when_that_was_asked_for(bool unpause, int pauses)
    {
        _domain.Pause();
        _factory.OnStart = () =>
        {
            Assert.Equal(1, _domain.PauseCount);
            Assert.NotEmpty(_domain.Monitor!.Enabled);
            _hypervisor.End(1);
        };
        Assert.Equal(0, await TraceAsync(Request() with { Unpause = unpause }));
        Assert.Equal(pauses, _domain.PauseCount);
    }

    [Fact]
    public async Task count_ends_the_trace_after_so_many_events()
    {
        _factory.OnStart = () =>
        {
            for (var i = 0; i < 50; i++)
            {
                _domain.Monitor!.Send(SampleEvents.Of(VmEventReason.Cpuid));
            }
        };
        Assert.Equal(0, await TraceAsync(Request() with { Json = true, Count = 10 }));
        Assert.Equal(10, Lines().Count(l => l.Contains("\"type\":\"event\"", StringComparison.Ordinal)));
        Assert.Contains("\"end\":\"count\"", Lines()[^1], StringComparison.Ordinal);
        AssertLetGo();
    }

    [Fact]
    public async Task duration_and_the_user_end_the_trace_and_nothing_stays_behind()
    {
        Assert.Equal(0, await TraceAsync(Request() with { Json = true, Duration = TimeSpan.FromMilliseconds(50) }));
        Assert.Contains("\"end\":\"duration\"", Lines()[^1], StringComparison.Ordinal);
        AssertLetGo();

        using var interrupt = new CancellationTokenSource();
        _factory.OnStart = interrupt.Cancel;
        Assert.Equal(0, await TraceAsync(Request() with { Json = true }, interrupt.Token));
        Assert.Contains("\"end\":\"interrupted\"", Lines()[^1], StringComparison.Ordinal);
        AssertLetGo();
    }

    [Fact]
    public async Task output_that_fails_still_lets_the_guest_go()
    {
        _factory.OnStart = () => _domain.Monitor!.Send(SampleEvents.Of(VmEventReason.Cpuid));
        var session = new TraceSession(Request(), _factory.Open(Request().Hypervisor), null, new BrokenOutput(), TimeProvider.System);
        await Assert.ThrowsAsync<IOException>(() => session.RunAsync(CancellationToken.None));
        AssertLetGo();
    }

    [Fact]
    public async Task a_domain_that_is_not_there_is_named()
    {
        var error = await Assert.ThrowsAsync<UserError>(() => TraceAsync(Request() with { Domain = DomainRef.Parse("nobody") }));
        Assert.Equal(1, error.ExitCode);
        Assert.Contains("domain 'nobody': there is none", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task an_event_that_the_hypervisor_cannot_send_is_refused_by_name_or_left_out_with_all()
    {
        _domain.Capabilities = MonitorCapabilities.WriteCtrlreg;
        var error = await Assert.ThrowsAsync<UserError>(() => TraceAsync(Request()));
        Assert.Equal(1, error.ExitCode);
        Assert.Equal("domain 1: this hypervisor does not offer CPUID on it; leave them out, or use --all, which takes what there is", error.Message);

        _factory.OnStart = () => _hypervisor.End(1);
        var request = Request();
        Assert.Equal(0, await TraceAsync(request with { Choice = request.Choice with { Everything = true } }));
    }

    [Theory]
    [InlineData(MonitorCapabilities.VmExit, "vmexits")]
    [InlineData(MonitorCapabilities.IoInstruction, "port accesses")]
    [InlineData(MonitorCapabilities.Interrupt, "interrupts")]
    [InlineData(MonitorCapabilities.SoftwareBreakpoint, "breakpoints")]
    [InlineData(MonitorCapabilities.Singlestep, "single steps")]
    [InlineData(MonitorCapabilities.DescriptorAccess, "descriptor accesses")]
    [InlineData(MonitorCapabilities.DebugException, "debug exceptions")]
    [InlineData(MonitorCapabilities.GuestRequest, "guest requests")]
    [InlineData(MonitorCapabilities.MovToMsr, "writes of MSR 0x10")]
    [InlineData(MonitorCapabilities.WriteCtrlreg, "writes of CR3")]
    public async Task what_the_capabilities_lack_is_named_and_what_they_have_is_taken(MonitorCapabilities lacking, string what)
    {
        var selection = new EventSelection
        {
            Events =
            [
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3), new MonitorEvent.Msr(0x10), new MonitorEvent.Cpuid(), new MonitorEvent.SoftwareBreakpoint(),
                new MonitorEvent.SingleStep(), new MonitorEvent.GuestRequest(), new MonitorEvent.VmExit(), new MonitorEvent.DebugException(),
                new MonitorEvent.DescriptorAccess(), new MonitorEvent.IoInstruction(Sync: false),
            ],
            Interrupts = true,
        };
        _domain.Capabilities &= ~lacking;
        var request = Request() with { Choice = new(selection, 1, false) };
        var error = await Assert.ThrowsAsync<UserError>(() => TraceAsync(request));
        Assert.Equal((1, $"domain 1: this hypervisor does not offer {what} on it; leave them out, or use --all, which takes what there is"), (error.ExitCode, error.Message));
        Assert.Equal(0, _domain.PauseCount);

        _factory.OnStart = () => _hypervisor.End(1);
        Assert.Equal(0, await TraceAsync(request with { Choice = request.Choice with { Everything = true } }));
    }

    [Fact]
    public async Task breakpoints_of_the_trace_are_in_the_guest_while_it_runs_and_not_after()
    {
        var code = new byte[1];
        _domain.Memory.WritePhysical(new(0x2000), [0x55]);
        _factory.Symbols = new OneSymbol("main", 0x1ff0);
        _factory.OnStart = () =>
        {
            _domain.Memory.ReadPhysical(new(0x2000), code);
            _hypervisor.End(1);
        };
        Assert.True(Place.TryParse("main+0x10", out var place, out _));
        Assert.Equal(0, await TraceAsync(Request() with { Choice = new(new(), 0, false) { Places = new() { Breakpoints = [place] } } }));
        Assert.Equal(0xcc, code[0]);
        _domain.Memory.ReadPhysical(new(0x2000), code);
        Assert.Equal(0x55, code[0]);
        AssertLetGo();
    }

    [Fact]
    public async Task without_a_choice_the_demo_is_watched_in_all_that_it_does()
    {
        _factory.Demo = new(new(0x106000), 0x101200, 0x101210);
        _factory.OnStart = () => _hypervisor.End(1);
        MonitorEvent[] enabled = [];
        MemoryAccess access = default;
        _factory.OnStart = () =>
        {
            enabled = [.. _domain.Monitor!.Enabled];
            access = _domain.Monitor.GetMemoryAccess(new(0x106));
            _hypervisor.End(1);
        };
        await TraceAsync(Request() with { Choice = new(new(), 0, false) });
        Assert.Equal(MemoryAccess.N, access);
        foreach (var kind in new[] { typeof(MonitorEvent.ControlRegister), typeof(MonitorEvent.Msr), typeof(MonitorEvent.Cpuid), typeof(MonitorEvent.SoftwareBreakpoint), typeof(MonitorEvent.SingleStep), typeof(MonitorEvent.GuestRequest), typeof(MonitorEvent.VmExit), typeof(MonitorEvent.DescriptorAccess), typeof(MonitorEvent.DebugException) })
        {
            Assert.Contains(enabled, e => e.GetType() == kind);
        }
    }

    [Fact]
    public async Task steps_begin_at_a_guest_request_and_end_where_they_should()
    {
        _factory.OnStart = () =>
        {
            _domain.Monitor!.Send(SampleEvents.Of(VmEventReason.GuestRequest));
            for (var i = 0; i < 3; i++)
            {
                _domain.Monitor.Send(SampleEvents.Of(VmEventReason.Singlestep));
            }

            _hypervisor.End(1);
        };
        var choice = new EventChoice(new EventSelection { Events = [new MonitorEvent.SingleStep(), new MonitorEvent.GuestRequest()] }, Steps: 3, Everything: false);
        Assert.Equal(0, await TraceAsync(Request() with { Choice = choice }));
        var toggles = _domain.Monitor!.Responses.Select(r => (r.Reason, (r.Flags & VmEventFlags.ToggleSinglestep) != 0));
        Assert.Equal(
            [(VmEventReason.GuestRequest, true), (VmEventReason.Singlestep, false), (VmEventReason.Singlestep, false), (VmEventReason.Singlestep, true)],
            toggles);
    }

    private static TraceRequest Request() => new()
    {
        Hypervisor = new() { Source = HypervisorSource.Demo },
        Choice = new(new EventSelection { Events = [new MonitorEvent.Cpuid()] }, 0, false),
    };

    private async Task<int> TraceAsync(TraceRequest request, CancellationToken cancellationToken = default)
    {
        using var commands = new Commands(_factory, new Keep(_output), isTerminal: false, _ => null);
        return await commands.TraceAsync(request, cancellationToken);
    }

    private string[] Lines() => Encoding.UTF8.GetString(_output.ToArray()).Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private void AssertLetGo()
    {
        Assert.True(_domain.Monitor!.IsDisposed);
        Assert.Equal(0, _domain.PauseCount);
        Assert.Equal(0, _domain.Monitor.UnconsumedRequests);
    }

    private sealed class BrokenOutput : ITraceOutput
    {
        public void Event(in EventRecord record, DomainInfo domain) => throw new IOException("broken pipe");

        public void Console(DomainInfo domain, string line)
        {
        }

        public void Summary(TraceSummary summary)
        {
        }

        public void Flush()
        {
        }

        public void Dispose()
        {
        }
    }

    // stdout is not the command's to close.
    private sealed class Keep(Stream inner) : Stream
    {
        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => inner.Length;

        public override long Position { get => inner.Position; set => inner.Position = value; }

        public override void Flush() => inner.Flush();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => inner.Write(buffer, offset, count);

        public override void Write(ReadOnlySpan<byte> buffer) => inner.Write(buffer);
    }
}
