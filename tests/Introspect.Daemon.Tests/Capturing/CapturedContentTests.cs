using System.Runtime.InteropServices;
using System.Text;
using Introspect.Daemon.Capturing;
using Introspect.Daemon.Output;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Capture;
using Introspect.Rules.Pump;

namespace Introspect.Daemon.Tests.Capturing;

/// <summary>Events as no hypervisor sends them, in a capture whose checksums are right: showing them is no trouble.</summary>
public sealed class CapturedContentTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Whatever_is_in_an_event_is_shown(bool json)
    {
        var file = Make(new(31));
        using var stream = new MemoryStream();
        using var writer = new StringWriter();
        using var capture = CaptureReader.Open(new MemoryStream(file));
        var symbols = new CapturedSymbols(capture, CaptureFiles.Standard);
        var time = new ReplayTime();
        using ITraceOutput output = json
            ? new JsonTraceOutput(stream, new JsonFormatter(symbols) { Registers = true }, time)
            : new TextTraceOutput(writer, new TextFormatter(Palette.For(false, _ => null), symbols));
        Assert.Equal(0, new ReplaySession(new("x") { Handlers = ["log", "protect-cr4"] }, capture, output, time, _ => { }).Run(CancellationToken.None));
        Assert.Equal(2002, (json ? Encoding.UTF8.GetString(stream.ToArray()) : writer.ToString().Split("\n\n")[0] + "\n\n").Count(c => c == '\n'));
    }

    [Fact]
    public void The_report_takes_any_header()
    {
        var header = Header() with
        {
            Watched = new()
            {
                Events = [new MonitorEvent.ControlRegister((ControlRegisterIndex)77), new MonitorEvent.Msr(uint.MaxValue)],
                Memory = [new(new(ulong.MaxValue), uint.MaxValue, (MemAccessFlags)0xff)],
            },
            Windows = [new((WindowRegister)99, 0, 1)],
        };
        using var stream = new MemoryStream();
        using (var writer = new CaptureWriter(stream, header))
        {
        }

        using var capture = CaptureReader.Open(new MemoryStream(stream.ToArray()));
        var summary = CaptureSummary.Of(capture);
        using var output = new MemoryStream();
        CaptureReport.Json(output, summary);
        Assert.Contains("incomplete", Encoding.UTF8.GetString(output.ToArray()), StringComparison.Ordinal);
        Assert.Contains("cut off", CaptureReport.Text(summary), StringComparison.Ordinal);
    }

    private static CaptureHeader Header() => new()
    {
        HypervisorName = "x",
        HypervisorVersion = "y",
        Domain = new(new(9), "z", Guid.Empty, CpuVendor.Svm, 2, new(1), ulong.MaxValue, DomainState.Running, 0),
        Started = DateTime.UnixEpoch,
    };

    private static byte[] Make(Random random)
    {
        using var stream = new MemoryStream();
        using (var writer = new CaptureWriter(stream, Header()))
        {
            for (var i = 1; i <= 2000; i++)
            {
                var request = default(VmEvent);
                random.NextBytes(MemoryMarshal.AsBytes(new Span<VmEvent>(ref request)));
                request.VcpuId = (uint)(i % 2);
                request.Reason = random.Next(8) == 0 ? (VmEventReason)random.Next() : (VmEventReason)(i % 20);
                var record = new EventRecord
                {
                    Sequence = (ulong)i,
                    Time = DateTime.UnixEpoch,
                    Elapsed = TimeSpan.MaxValue,
                    PausedTime = TimeSpan.MaxValue,
                    HandlingTime = TimeSpan.MaxValue,
                    Event = request,
                };
                Assert.True(writer.TryWrite(in record));
            }

            writer.TryWriteConsole(DateTime.MaxValue, "late");
            writer.Complete(new(DateTime.MaxValue, "end", TimeSpan.MaxValue, TimeSpan.MaxValue, long.MaxValue, long.MaxValue));
        }

        return stream.ToArray();
    }
}
