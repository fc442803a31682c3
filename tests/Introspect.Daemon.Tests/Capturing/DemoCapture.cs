using System.Text;
using Introspect.Daemon.Capturing;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Output;
using Introspect.Daemon.Tracing;
using Introspect.Rules.Capture;

namespace Introspect.Daemon.Tests.Capturing;

/// <summary>One run of the demo guest, traced and recorded at the same time.</summary>
public sealed class DemoCapture : IAsyncLifetime
{
    internal static readonly MemoryWindow[] Windows = [new(WindowRegister.Rip, 0, 16), new(WindowRegister.Rsp, 0, 64)];

    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-capture-").FullName;

    public string Path => System.IO.Path.Combine(_folder, "demo.ivc");

    public byte[] File { get; private set; } = [];

    /// <summary>What <c>trace --json --registers</c> printed.</summary>
    public string Traced { get; private set; } = "";

    public async Task InitializeAsync()
    {
        var trace = new TraceRequest
        {
            Hypervisor = new() { Source = HypervisorSource.Demo },
            Choice = new(new(), 0, false),
            Lossless = true,
            DenyProtectionClears = true,
        };
        using (var session = new HypervisorFactory().Open(trace.Hypervisor))
        using (var stream = new MemoryStream())
        {
            var memory = new MemoryRecorder(Windows, 1000);
            var json = new JsonTraceOutput(stream, new JsonFormatter(session.Symbols) { Registers = true }, TimeProvider.System);
            var capture = new CaptureOutput(new(trace, Path), CaptureFiles.Create(Path), session.Symbols, memory, TimeProvider.System);
            using (var both = new TeeOutput(json, capture))
            {
                Assert.Equal(0, await new TraceSession(trace, session, session.Symbols, both, TimeProvider.System, memory).RunAsync(CancellationToken.None));
            }

            Traced = Encoding.UTF8.GetString(stream.ToArray());
        }

        File = await System.IO.File.ReadAllBytesAsync(Path);
    }

    public Task DisposeAsync()
    {
        Directory.Delete(_folder, recursive: true);
        return Task.CompletedTask;
    }

    /// <summary>A copy of the capture that somebody changed.</summary>
    public string With(Func<byte[], byte[]> change)
    {
        var path = System.IO.Path.Combine(_folder, Guid.NewGuid().ToString());
        System.IO.File.WriteAllBytes(path, change([.. File]));
        return path;
    }

    internal static Task<(int ExitCode, string Output, string Error)> RunAsync(params string[] words) =>
        DocumentedCommand.RunAsync(words, _ => false, Task.Delay(Timeout.Infinite));
}
