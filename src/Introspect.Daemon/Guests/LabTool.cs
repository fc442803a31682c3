using Introspect.Daemon.Cli;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Linux;

namespace Introspect.Daemon.Guests;

/// <summary>Does what <c>introspect lab</c> is asked for, at the host behind the socket.</summary>
/// <param name="text">Where results go.</param>
/// <param name="output">The stream behind it, for what guests write.</param>
/// <param name="openInput">Opens what is typed; null: nobody types.</param>
/// <param name="note">Told what a user should know beside the results.</param>
/// <param name="variable">The environment.</param>
internal sealed class LabTool(TextWriter text, Stream output, Func<Stream>? openInput, Action<string> note, Func<string, string?> variable)
{
    /// <summary>Does it.</summary>
    /// <returns>The exit code.</returns>
    public int Run(LabRequest request, CancellationToken cancellationToken)
    {
        var socket = request.Socket ?? LabSocket.DefaultPath(variable);
        switch (request)
        {
            case LabCreateRequest create:
                return Create(socket, create, cancellationToken);
            case LabRestoreFileRequest restore:
                return Restore(socket, restore, cancellationToken);
            case LabListRequest list:
                return List(socket, list);
            case LabConsoleRequest console:
                using (var host = LabHost.Connect(socket))
                {
                    return Follow(socket, host, Find(host, console.Domain).Uuid, cancellationToken);
                }

            case LabSaveFileRequest save:
                using (var host = LabHost.Connect(socket))
                {
                    Keeper(host).Save(Find(host, save.Domain).Id, new(Path.GetFullPath(save.Path), save.Then));
                    return ExitCode.Ok;
                }

            case LabDumpCoreRequest dump:
                using (var host = LabHost.Connect(socket))
                {
                    Keeper(host).DumpCore(Find(host, dump.Domain).Id, new(Path.GetFullPath(dump.Path)));
                    return ExitCode.Ok;
                }

            case LabPowerRequest power:
                using (var host = LabHost.Connect(socket))
                {
                    return new LabPowerTool(Keeper(host), Say).Run(Find(host, power.Domain).Uuid, power, cancellationToken);
                }

            case LabOperationRequest operation:
                using (var host = LabHost.Connect(socket))
                {
                    var domain = Find(host, operation.Domain);
                    new ToolstackCalls(host.Toolstack).Domctl(operation.Operation, domain.Id.Value, $"{operation.What} domain {domain.Id}");
                    return ExitCode.Ok;
                }

            default:
                throw new InvalidOperationException($"'{request}' is no request");
        }
    }

    private int Create(string socket, LabCreateRequest request, CancellationToken cancellationToken)
    {
        // Read before anything is started: what is wrong with it leaves nothing behind.
        var config = GuestConfigReader.Load(request.Path, request.Settings);
        foreach (var warning in config.Warnings)
        {
            note($"warning: {warning}");
        }

        using var host = LabHost.ConnectOrStart(socket, request.Start.Log, Say);
        var report = Keeper(host).Create(config.Description with { StartPaused = request.Start.Paused });
        if (report.Warning is { } lacking)
        {
            note($"warning: {lacking}");
        }

        return Begin(socket, host, report, "created", request.Start, cancellationToken);
    }

    private int Restore(string socket, LabRestoreFileRequest request, CancellationToken cancellationToken)
    {
        // A host is not started for a file that is not there.
        var path = Path.GetFullPath(request.Path);
        if (!File.Exists(path))
        {
            throw UserError.Failure($"saved domain '{path}': there is no such file; check the path");
        }

        using var host = LabHost.ConnectOrStart(socket, request.Start.Log, Say);
        var report = Keeper(host).Restore(new(path, request.Name, StartPaused: request.Start.Paused));
        return Begin(socket, host, report, "restored", request.Start, cancellationToken);
    }

    private int Begin(string socket, CoreHypervisor host, LabReport report, string what, LabStart start, CancellationToken cancellationToken)
    {
        Say($"domain {report.Domain} '{report.Name}' {what}{(start.Paused ? ", paused" : "")}");
        return start.Console ? Follow(socket, host, report.Uuid, cancellationToken) : ExitCode.Ok;
    }

    private int Follow(string socket, CoreHypervisor host, Guid uuid, CancellationToken cancellationToken)
    {
        text.Flush();
        LabReport? end;
        var input = openInput?.Invoke();
        using (var _ = input is null || Console.IsInputRedirected ? null : RawTerminal.TryEnter())
        {
            end = new ConsoleAttachment(socket, uuid, output, input).Run(Keeper(host), cancellationToken);
        }

        if (end is null)
        {
            return ExitCode.Ok;
        }

        Say(LabExit.Describe(end));
        return LabExit.CodeOf(end);
    }

    private int List(string socket, LabListRequest request)
    {
        using var host = LabHost.Connect(socket);
        var domains = LabListing.Read(host, request.Domain is { } wanted ? Find(host, wanted).Id : null);
        if (request.Json)
        {
            text.Flush();
            LabListing.WriteJson(output, domains);
        }
        else if (request.Long)
        {
            text.Write(LabListing.Long(domains));
        }
        else
        {
            text.Write(LabListing.Table(domains));
        }

        text.Flush();
        return ExitCode.Ok;
    }

    private static ILabControl Keeper(CoreHypervisor host) => host.Lab!;

    private static DomainInfo Find(CoreHypervisor host, DomainRef domain)
    {
        var domains = host.ListDomains();
        return domains.FirstOrDefault(domain.Matches)
            ?? throw UserError.Failure($"domain '{domain}': there is none{Suggestion.For(domain.ToString(), domains.Select(static d => d.Name))}; 'introspect lab list' shows those that are there");
    }

    private void Say(string line)
    {
        text.WriteLine(line);
        text.Flush();
    }
}
