using System.Text.Json;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Core.Saving;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Core.Lab;

/// <summary>
/// Keeps the domains of a machine: builds them, does at their end what their description asks for, and remembers for a while
/// how they ended. Its gate is never held around the machine's control lock.
/// </summary>
internal sealed partial class LabKeeper : ILabControl, IDisposable
{
    /// <summary>The record of a saved file that holds the description.</summary>
    public const string DescriptionRecord = "lab.description";

    private const int MostEnded = 64;

    private readonly Machine _machine;
    private readonly ToolstackCalls _calls;
    private readonly LabBuilder _builder;
    private readonly Action<string> _log;
    private readonly string _dumps;
    private readonly object _gate = new();
    private readonly List<KeptDomain> _kept = [];
    private readonly Queue<Domain> _ended = new();
    private readonly Thread _thread;
    private ulong _changes;
    private bool _stopped;

    /// <param name="machine">The machine; stays its owner's.</param>
    /// <param name="toolstack">The door to it.</param>
    /// <param name="log">Told, in one line each, what could not be done at a domain's end.</param>
    /// <param name="dumps">Folder for the cores that are dumped at an end; null: this user's.</param>
    public LabKeeper(Machine machine, IToolstack toolstack, Action<string> log, string? dumps = null)
    {
        (_machine, _calls, _log) = (machine, new ToolstackCalls(toolstack), log);
        _dumps = dumps ?? LabDumps.FolderOf(FileOwner.CurrentUser, Environment.GetEnvironmentVariable);
        _builder = new LabBuilder(machine, toolstack);
        machine.DomainEnded += OnEnded;
        _thread = new Thread(HandleEnds) { IsBackground = true, Name = "introspect keeper" };
        _thread.Start();
    }

    /// <summary>Keeps a domain that somebody else built: it is followed, saved and preserved at its end.</summary>
    public LabReport Adopt(DomainId id)
    {
        var domain = Find(id);
        return Keep(new KeptDomain(domain.Handle, domain.Name, description: null), domain);
    }

    /// <inheritdoc/>
    public LabReport Create(LabDescription description)
    {
        var uuid = description.Uuid ?? Guid.NewGuid();
        var domain = _builder.Build(description, uuid, out var warning);
        var report = Keep(new KeptDomain(uuid, description.Name, description with { Uuid = uuid }) { Warning = warning }, domain);
        if (!description.StartPaused)
        {
            Unpause(domain);
        }

        return report;
    }

    /// <inheritdoc/>
    public void Save(DomainId id, LabSaveRequest request)
    {
        var domain = Find(id);
        var kept = FindKept(domain);
        _calls.Domctl(DomctlCommand.PauseDomain, id.Value, $"pausing domain {id}");
        var isSaved = false;
        try
        {
            LabFiles.WriteWhole(request.Path, "saved domain", file => DomainSaver.Save(domain, file, Extras(kept)));
            isSaved = true;
        }
        finally
        {
            if ((!isSaved || request.Then == AfterSave.Continue) && !domain.IsDying)
            {
                Unpause(domain);
            }
        }

        if (request.Then == AfterSave.Destroy)
        {
            End(kept, "saved");
            Destroy(domain);
        }
    }

    /// <inheritdoc/>
    public void DumpCore(DomainId id, LabDumpRequest request) => DumpCore(Find(id), request.Path);

    /// <inheritdoc/>
    public LabReport Restore(LabRestoreRequest request)
    {
        LabFiles.RequireRooted(request.Path, "saved domain");
        var restored = LabFiles.Guard(request.Path, "saved domain", () =>
        {
            using var file = new FileStream(request.Path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 20);
            return DomainRestorer.Restore(_machine, file, request.Path, new() { Name = request.Name, Uuid = request.Uuid });
        });
        var domain = restored.Domain;
        LabDescription? description;
        try
        {
            description = DescriptionOf(restored.Extras);
        }
        catch
        {
            Destroy(domain);
            throw;
        }

        description = description is null ? null : description with { Name = domain.Name, Uuid = domain.Handle };
        var report = Keep(new KeptDomain(domain.Handle, domain.Name, description), domain);
        if (!request.StartPaused)
        {
            Unpause(domain);
        }

        return report;
    }

    /// <inheritdoc/>
    public LabReport Report(Guid uuid) => WaitForEnd(uuid, TimeSpan.Zero);

    /// <inheritdoc/>
    public IReadOnlyList<LabReport> ReportAll()
    {
        lock (_gate)
        {
            return _kept.ConvertAll(static kept => kept.Report);
        }
    }

    /// <inheritdoc/>
    public LabReport WaitForEnd(Guid uuid, TimeSpan patience)
    {
        var deadline = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        lock (_gate)
        {
            var kept = FindKept(uuid);
            while (!kept.HasEnded && !_stopped && deadline - Environment.TickCount64 is var left and > 0)
            {
                Monitor.Wait(_gate, TimeSpan.FromMilliseconds(left));
            }

            return kept.Report;
        }
    }

    /// <inheritdoc/>
    public int FollowConsole(Guid uuid, ref ulong position, Span<byte> destination, TimeSpan patience, out LabReport report)
    {
        var deadline = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        while (true)
        {
            KeptDomain kept;
            ulong seen;
            bool hasEnded;
            lock (_gate)
            {
                kept = FindKept(uuid);
                (seen, hasEnded, report) = (_changes, kept.HasEnded, kept.Report);
            }

            Drain(kept.Domain);
            var count = kept.Console.Read(ref position, destination);
            if (count > 0 || hasEnded)
            {
                return count;
            }

            lock (_gate)
            {
                while (_changes == seen && !_stopped && deadline - Environment.TickCount64 is var left and > 0)
                {
                    Monitor.Wait(_gate, TimeSpan.FromMilliseconds(left));
                }

                if (_stopped || Environment.TickCount64 >= deadline)
                {
                    return 0;
                }
            }
        }
    }

    /// <inheritdoc/>
    public int WriteConsole(Guid uuid, ReadOnlySpan<byte> input)
    {
        KeptDomain kept;
        lock (_gate)
        {
            kept = FindKept(uuid);
        }

        using var _ = _machine.ControlLock.EnterScope();
        if (kept.HasEnded || kept.Domain.IsDying || kept.Domain.Platform is not DomainPlatform platform)
        {
            throw new HypervisorException(Errno.ENODEV, $"domain '{kept.Name}' has ended: nobody reads its console");
        }

        var taken = platform.Console.QueueInput(input);
        platform.FillConsoleRing();
        return taken;
    }

    /// <summary>Lets go of the machine, whose domains stay.</summary>
    public void Dispose()
    {
        _machine.DomainEnded -= OnEnded;
        lock (_gate)
        {
            _stopped = true;
            Monitor.PulseAll(_gate);
        }

        _thread.Join();
    }

    private static IEnumerable<SavedExtra> Extras(KeptDomain? kept) => kept?.Description is { } description
        ? [new(DescriptionRecord, JsonSerializer.SerializeToUtf8Bytes(description, LabJson.Default.LabDescription))]
        : [];

    private static LabDescription? DescriptionOf(IReadOnlyList<SavedExtra> extras)
    {
        foreach (var extra in extras)
        {
            if (extra.Name == DescriptionRecord)
            {
                return LabJson.Parse(extra.Value.Span, LabJson.Default.LabDescription, "description of a domain");
            }
        }

        return null;
    }

    private LabReport Keep(KeptDomain kept, Domain domain)
    {
        lock (_gate)
        {
            kept.Begin(domain);
            _kept.RemoveAll(other => other.Uuid == kept.Uuid);
            while (_kept.Count(static other => other.HasEnded) >= MostEnded)
            {
                _kept.Remove(_kept.First(static other => other.HasEnded));
            }

            _kept.Add(kept);
            Listen(kept);
            return kept.Report;
        }
    }

    private void Listen(KeptDomain kept)
    {
        if (kept.Domain.Platform is DomainPlatform platform)
        {
            platform.Console.Written += NoteChange;
        }

        NoteChange();
    }

    private void NoteChange()
    {
        lock (_gate)
        {
            _changes++;
            Monitor.PulseAll(_gate);
        }
    }

    private static void DumpCore(Domain domain, string path) => LabFiles.WriteWhole(path, "core dump", file => CoreDump.Write(domain, file));

    private void Unpause(Domain domain) => _calls.Domctl(DomctlCommand.UnpauseDomain, domain.Id.Value, $"unpausing domain {domain.Id}");

    private void Destroy(Domain domain)
    {
        if (_machine.Find(domain.Id.Value) == domain)
        {
            _calls.Domctl(DomctlCommand.DestroyDomain, domain.Id.Value, $"destroying domain {domain.Id}");
        }
    }

    private void Drain(Domain domain)
    {
        using var _ = _machine.ControlLock.EnterScope();
        if (!domain.IsDying && domain.Platform is DomainPlatform platform)
        {
            platform.DrainConsoleRing();
        }
    }

    private Domain Find(DomainId id) => _machine.Find(id.Value)
        ?? throw new HypervisorException(Errno.ESRCH, $"there is no domain {id}: 'introspect list' shows those there are");

    private KeptDomain? FindKept(Domain domain)
    {
        lock (_gate)
        {
            return _kept.Find(kept => kept.Domain == domain);
        }
    }

    // Under the gate.
    private KeptDomain FindKept(Guid uuid) => _kept.Find(kept => kept.Uuid == uuid)
        ?? throw new HypervisorException(Errno.ESRCH, $"no domain with UUID {uuid} is kept here: 'introspect list' shows those there are");
}
