using System.Globalization;
using System.Text;
using System.Text.Json;
using Introspect.Daemon.Capturing;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Control;
using Introspect.Daemon.Describing;
using Introspect.Daemon.Guests;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Inspection;
using Introspect.Daemon.Output;
using Introspect.Daemon.RuleTools;
using Introspect.Daemon.Service;
using Introspect.Daemon.Symbols;
using Introspect.Daemon.Top;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Rules.Capture;

namespace Introspect.Daemon;

/// <summary>What the program does, with the hypervisors that a factory makes.</summary>
/// <param name="factory">Makes the hypervisors.</param>
/// <param name="output">Where results go.</param>
/// <param name="isTerminal">A person looks at it.</param>
/// <param name="variable">The environment.</param>
/// <param name="notes">Where goes what a user should know beside the results; null for stderr.</param>
/// <param name="input">Opens what is typed; null: nobody types.</param>
internal sealed class Commands(IHypervisorFactory factory, Stream output, bool isTerminal, Func<string, string?> variable, TextWriter? notes = null, Func<Stream>? input = null) : ICommands, IDisposable
{
    private const int BufferBytes = 1 << 16;

    private readonly StreamWriter _text = new(output, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), BufferBytes, leaveOpen: true);

    /// <inheritdoc/>
    public async Task<int> TraceAsync(TraceRequest request, CancellationToken cancellationToken)
    {
        using var hypervisor = factory.Open(request.Hypervisor);
        Warn(hypervisor);
        var symbols = SymbolFile.Choose(request.Symbols, hypervisor.Symbols);
        // Not disposed: that would close stdout, which is the program's. The trace flushes it.
#pragma warning disable CA2000
        var buffer = new BufferedStream(output, BufferBytes);
#pragma warning restore CA2000
        using ITraceOutput shown = request.Json
            ? new JsonTraceOutput(buffer, new JsonFormatter(symbols) { Registers = request.Registers }, TimeProvider.System)
            : new TextTraceOutput(_text, new TextFormatter(Palette.For(isTerminal, variable), symbols));
        try
        {
            return await new TraceSession(request, hypervisor, symbols, shown, TimeProvider.System).RunAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (IOException e) when (StandardOutput.IsClosed(e))
        {
            // Who reads has seen enough ('| head').
            return ExitCode.Ok;
        }
    }

    /// <inheritdoc/>
    public async Task<int> RecordAsync(RecordRequest request, CancellationToken cancellationToken)
    {
        using var hypervisor = factory.Open(request.Trace.Hypervisor);
        Warn(hypervisor);
        var symbols = SymbolFile.Choose(request.Trace.Symbols, hypervisor.Symbols);
        var memory = request.Windows.Count == 0 ? null : new MemoryRecorder(request.Windows, CaptureOutput.MemoryCapacity(request.Windows));
        var isStandard = request.Path == CaptureFiles.Standard;
        CaptureOutput capture;
        using (capture = new(request, isStandard ? output : CaptureFiles.Create(request.Path), symbols, memory, TimeProvider.System))
        {
            var exitCode = await new TraceSession(request.Trace, hypervisor, symbols, capture, TimeProvider.System, memory).RunAsync(cancellationToken).ConfigureAwait(false);
            if (exitCode != ExitCode.Ok)
            {
                return exitCode;
            }
        }

        var text = capture.Describe();
        if (isStandard)
        {
            Note(text);
        }
        else
        {
            _text.WriteLine(text);
            _text.Flush();
        }

        return ExitCode.Ok;
    }

    /// <inheritdoc/>
    public int Replay(ReplayRequest request, CancellationToken cancellationToken)
    {
        using var capture = CaptureFiles.Open(request.Path);
        var symbols = SymbolFile.Choose(request.Symbols, ofImage: null) ?? new CapturedSymbols(capture, request.Path);
        var time = new ReplayTime();
        // Not disposed: that would close stdout, which is the program's. The replay flushes it.
#pragma warning disable CA2000
        var buffer = new BufferedStream(output, BufferBytes);
#pragma warning restore CA2000
        using ITraceOutput shown = request.Json
            ? new JsonTraceOutput(buffer, new JsonFormatter(symbols) { Registers = request.Registers }, time)
            : new TextTraceOutput(_text, new TextFormatter(Palette.For(isTerminal, variable), symbols));
        try
        {
            return new ReplaySession(request, capture, shown, time, Note, symbols).Run(cancellationToken);
        }
        catch (IOException e) when (StandardOutput.IsClosed(e))
        {
            // Who reads has seen enough ('| head').
            return ExitCode.Ok;
        }
    }

    /// <inheritdoc/>
    public int DescribeDomain(DescribeRequest request)
    {
        var domain = request.Complete(request.Path is { } path ? DomainDescriptionFile.Read(path) : new());
        if (request.Json)
        {
            DomainReport.WriteJson(output, domain);
        }
        else
        {
            _text.Write(DomainReport.ToText(domain));
            _text.Flush();
        }

        return ExitCode.Ok;
    }

    /// <inheritdoc/>
    public int CaptureInfo(string path, bool json)
    {
        using var capture = CaptureFiles.Open(path);
        var summary = CaptureSummary.Of(capture);
        if (json)
        {
            CaptureReport.Json(output, summary);
        }
        else
        {
            _text.Write(CaptureReport.Text(summary));
            _text.Flush();
        }

        return summary.Damage is null ? ExitCode.Ok : throw CaptureFiles.Damaged(path, summary.Damage);
    }

    /// <inheritdoc/>
    public Task<int> RunAsync(string configurationPath, CancellationToken cancellationToken) =>
        new RunCommand(factory, variable, Environment.GetEnvironmentVariables()).RunAsync(configurationPath, cancellationToken);

    /// <inheritdoc/>
    public int CheckConfiguration(string configurationPath)
    {
        var read = ConfigurationLoader.Load(configurationPath, Environment.GetEnvironmentVariables());
        foreach (var warning in read.Warnings)
        {
            _text.WriteLine(warning);
        }

        _text.WriteLine($"{string.Join(", ", read.Files)}: right; policies: {read.Domains.Count}");
        _text.Flush();
        return ExitCode.Ok;
    }

    /// <inheritdoc/>
    public async Task<int> ReloadAsync(string socketPath, CancellationToken cancellationToken)
    {
        using var client = await ControlClient.ConnectAsync(socketPath, cancellationToken).ConfigureAwait(false);
        var response = await client.AskAsync(ControlProtocol.Reload, cancellationToken).ConfigureAwait(false);
        if (response is not { Ok: true, Reload: { } reload })
        {
            throw new ReloadRefused(response.Errors);
        }

        var restart = reload.NeedRestart.Count == 0 ? "" : $"; a restart is needed for {string.Join(", ", reload.NeedRestart)}";
        _text.WriteLine($"the configuration is in force; policies: {reload.Policies}, domains changed: {reload.ChangedDomains}{restart}");
        await _text.FlushAsync(cancellationToken).ConfigureAwait(false);
        return ExitCode.Ok;
    }

    /// <inheritdoc/>
    public async Task<int> TopAsync(TopRequest request, CancellationToken cancellationToken)
    {
        try
        {
            return await new TopCommand(request, _text, isTerminal, variable).RunAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (IOException e) when (StandardOutput.IsClosed(e))
        {
            return ExitCode.Ok;
        }
    }

    /// <inheritdoc/>
    public async Task<int> ServeLabAsync(string socketPath, HypervisorSpec? guest, CoreFeatures features, LabLife life, CancellationToken cancellationToken)
    {
        using var lab = factory.Serve(socketPath, guest, features, life.HardwareDomain, Tell);
        Warn(lab);
        Tell(lab.Built is { } built ? $"listening at {socketPath}, domain {built} runs" : $"listening at {socketPath}, no domain yet");
        var over = life.UntilEmpty ? LabVacancy.WaitAsync(lab, cancellationToken) : Task.Delay(Timeout.Infinite, cancellationToken);
        var end = await Task.WhenAny(lab.MachineEnd, over).ConfigureAwait(false);
        if (end == lab.MachineEnd)
        {
            Tell(await lab.MachineEnd.ConfigureAwait(false));
        }
        else if (life.UntilEmpty && !cancellationToken.IsCancellationRequested)
        {
            Tell("nothing is left");
        }

        return ExitCode.Ok;

        void Tell(string line)
        {
            _text.WriteLine(line);
            _text.Flush();
        }
    }

    /// <inheritdoc/>
    public Task<int> LabAsync(LabRequest request, CancellationToken cancellationToken)
    {
        try
        {
            return Task.FromResult(new LabTool(_text, output, input, Note, variable).Run(request, cancellationToken));
        }
        catch (IOException e) when (StandardOutput.IsClosed(e))
        {
            return Task.FromResult(ExitCode.Ok);
        }
    }

    // Beside the output, which may be one that a program reads.
    private void Warn(HypervisorSession session)
    {
        foreach (var warning in session.Warnings)
        {
            Note($"warning: {warning}");
        }
    }

    /// <inheritdoc/>
    public int Recover(HypervisorSpec hypervisor, DomainRef domain)
    {
        using var session = factory.Open(hypervisor);
        using var opened = session.OpenDomain(domain);
        Recover(opened);
        return ExitCode.Ok;
    }

    /// <inheritdoc/>
    public int RecoverLeft(string folder)
    {
        var failed = new List<string>();
        var all = AttachedDomains.Read(folder);
        if (all.Count == 0)
        {
            _text.WriteLine($"nothing was left: {folder} has no notes");
            _text.Flush();
        }

        foreach (var left in all)
        {
            try
            {
                using var session = factory.Open(left.Hypervisor);
                using var domain = session.Hypervisor.Open(left.Uuid == Guid.Empty ? new DomainId(left.Domain) : DomainRef.Parse(left.Uuid.ToString()));
                Recover(domain);
            }
            catch (HypervisorException e) when (e.Error == Errno.ESRCH)
            {
                // It went since, and what was left went with it.
                _text.WriteLine(string.Create(CultureInfo.InvariantCulture, $"domain {left.Domain}: it is gone"));
                _text.Flush();
            }
            catch (Exception e) when (e is HypervisorException or UserError)
            {
                failed.Add(string.Create(CultureInfo.InvariantCulture, $"domain {left.Domain}: {UserError.OneLine(e.Message)}"));
                continue;
            }

            AttachedDomains.Forget(folder, left.Domain);
        }

        return failed.Count == 0 ? ExitCode.Ok : throw UserError.Failure(string.Join("; ", failed));
    }

    private void Recover(IDomain opened)
    {
        var report = opened.Recover();
        _text.WriteLine(!report.TellsHeldVcpus
            ? string.Create(CultureInfo.InvariantCulture, $"domain {opened.Id}: {(report.WasEnabled ? "monitoring is off" : "no monitor was left")}; vCPUs told to go on: {report.ReleasedVcpus} (which of them were held is not told), pauses undone: {report.UndonePauses}")
            : report.WasEnabled || report.ReleasedVcpus > 0
            ? string.Create(CultureInfo.InvariantCulture, $"domain {opened.Id}: monitoring is off; vCPUs let go: {report.ReleasedVcpus}, unanswered requests: {report.UnansweredRequests}, pauses undone: {report.UndonePauses}")
            : string.Create(CultureInfo.InvariantCulture, $"domain {opened.Id}: no monitor was left; pauses undone: {report.UndonePauses}"));
        _text.Flush();
    }

    /// <inheritdoc/>
    public int List(HypervisorSpec hypervisor, bool json)
    {
        using var session = factory.Open(hypervisor);
        var domains = session.Hypervisor.ListDomains();
        if (json)
        {
            foreach (var domain in domains)
            {
                WriteJson(domain);
            }

            return ExitCode.Ok;
        }

        _text.WriteLine("    ID  STATE     VCPUS  MEMORY MiB  VENDOR  NAME");
        foreach (var domain in domains)
        {
            _text.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{domain.Id.Value,6}  {domain.State.ToString().ToLowerInvariant(),-8}  {domain.VcpuCount,5}  {domain.MemoryBytes / 1048576.0,10:0.0}  {domain.Vendor.ToString().ToLowerInvariant(),-6}  {domain.Name}"));
        }

        _text.Flush();
        return ExitCode.Ok;
    }

    /// <inheritdoc/>
    public int Registers(InspectionTarget target, bool json)
    {
        new Inspector(factory, output).Registers(target, json);
        return ExitCode.Ok;
    }

    /// <inheritdoc/>
    public int Memory(MemoryRequest request)
    {
        new Inspector(factory, output).Memory(request);
        return ExitCode.Ok;
    }

    /// <inheritdoc/>
    public int Disassemble(DisassemblyRequest request)
    {
        new Inspector(factory, output).Disassemble(request);
        return ExitCode.Ok;
    }

    /// <inheritdoc/>
    public int CheckRules(RulesCheckRequest request) => new RuleTool(_text).Check(request);

    /// <inheritdoc/>
    public int ExplainRules(IReadOnlyList<string> paths) => new RuleTool(_text).Explain(paths);

    /// <inheritdoc/>
    public int TestRules(RulesTestRequest request) => new RuleTool(_text).Test(request);

    /// <inheritdoc/>
    public int Version()
    {
        _text.WriteLine($"introspect {ProgramInfo.Version} (.NET {Environment.Version}, vm_event interface {Introspect.Hypervisor.Abi.VmEvent.InterfaceVersion})");
        _text.Flush();
        return ExitCode.Ok;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        try
        {
            _text.Dispose();
        }
        catch (IOException e) when (StandardOutput.IsClosed(e))
        {
            // What is left in the buffer has no reader.
        }
    }

    private void Note(string line) => (notes ?? Console.Error).WriteLine($"introspect: {UserError.OneLine(line)}");

    private void WriteJson(DomainInfo domain)
    {
        using (var json = new Utf8JsonWriter(output))
        {
            json.WriteStartObject();
            json.WriteString("type", "domain");
            json.WriteNumber("domain", domain.Id.Value);
            json.WriteString("domain_name", domain.Name);
            json.WriteString("uuid", domain.Uuid);
            json.WriteString("vendor", domain.Vendor.ToString().ToLowerInvariant());
            json.WriteNumber("vcpus", domain.VcpuCount);
            json.WriteNumber("memory_bytes", domain.MemoryBytes);
            json.WriteString("state", domain.State.ToString().ToLowerInvariant());
            json.WriteEndObject();
        }

        output.Write("\n"u8);
    }
}
