using Introspect.Daemon.Capturing;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Describing;
using Introspect.Daemon.Guests;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Inspection;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Tests.Cli;

/// <summary>Notes what the command line asked for.</summary>
internal sealed class FakeCommands : ICommands
{
    public TraceRequest? Trace { get; private set; }

    public string? Run { get; private set; }

    public (string Path, HypervisorSpec? Guest)? Served { get; private set; }

    public (HypervisorSpec Hypervisor, DomainRef Domain)? Recovered { get; private set; }

    public (HypervisorSpec Hypervisor, bool Json)? Listed { get; private set; }

    public Exception? Throw { get; init; }

    public Task<int> TraceAsync(TraceRequest request, CancellationToken cancellationToken)
    {
        Trace = request;
        return Throw is null ? Task.FromResult(0) : throw Throw;
    }

    public RecordRequest? Recorded { get; private set; }

    public ReplayRequest? Replayed { get; private set; }

    public string? Info { get; private set; }

    public Task<int> RecordAsync(RecordRequest request, CancellationToken cancellationToken)
    {
        Recorded = request;
        return Task.FromResult(0);
    }

    public int Replay(ReplayRequest request, CancellationToken cancellationToken)
    {
        Replayed = request;
        return 0;
    }

    public DomainDescription? Described { get; private set; }

    public int DescribeDomain(DescribeRequest request)
    {
        Described = request.Complete(new());
        return 0;
    }

    public int CaptureInfo(string path, bool json)
    {
        Info = path;
        return 0;
    }

    public Task<int> RunAsync(string configurationPath, CancellationToken cancellationToken)
    {
        Run = configurationPath;
        return Task.FromResult(0);
    }

    public string? Checked { get; private set; }

    public string? Reloaded { get; private set; }

    public TopRequest? Top { get; private set; }

    public int CheckConfiguration(string configurationPath)
    {
        Checked = configurationPath;
        return 0;
    }

    public RulesCheckRequest? RulesChecked { get; private set; }

    public IReadOnlyList<string>? RulesExplained { get; private set; }

    public RulesTestRequest? RulesTested { get; private set; }

    public int CheckRules(RulesCheckRequest request)
    {
        RulesChecked = request;
        return 0;
    }

    public int ExplainRules(IReadOnlyList<string> paths)
    {
        RulesExplained = paths;
        return 0;
    }

    public int TestRules(RulesTestRequest request)
    {
        RulesTested = request;
        return 0;
    }

    public Task<int> ReloadAsync(string socketPath, CancellationToken cancellationToken)
    {
        Reloaded = socketPath;
        return Task.FromResult(0);
    }

    public Task<int> TopAsync(TopRequest request, CancellationToken cancellationToken)
    {
        Top = request;
        return Task.FromResult(0);
    }

    public DomainId? HardwareDomain { get; private set; }

    public Task<int> LabAsync(LabRequest request, CancellationToken cancellationToken)
    {
        Lab = request;
        return Task.FromResult(0);
    }

    public LabRequest? Lab { get; private set; }

    public Task<int> ServeLabAsync(string socketPath, HypervisorSpec? guest, CoreFeatures features, LabLife life, CancellationToken cancellationToken)
    {
        Served = (socketPath, guest);
        HardwareDomain = life.HardwareDomain;
        return Task.FromResult(0);
    }

    public string? RecoveredState { get; private set; }

    public int RecoverLeft(string folder)
    {
        RecoveredState = folder;
        return 0;
    }

    public int Recover(HypervisorSpec hypervisor, DomainRef domain)
    {
        Recovered = (hypervisor, domain);
        return 0;
    }

    public int List(HypervisorSpec hypervisor, bool json)
    {
        Listed = (hypervisor, json);
        return 0;
    }

    public (InspectionTarget Target, bool Json)? RegistersOf { get; private set; }

    public MemoryRequest? MemoryOf { get; private set; }

    public DisassemblyRequest? CodeOf { get; private set; }

    public int Registers(InspectionTarget target, bool json)
    {
        RegistersOf = (target, json);
        return 0;
    }

    public int Memory(MemoryRequest request)
    {
        MemoryOf = request;
        return 0;
    }

    public int Disassemble(DisassemblyRequest request)
    {
        CodeOf = request;
        return 0;
    }

    public int Version() => 0;
}
