using Introspect.Daemon.Cli;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Core.Host;

namespace Introspect.Daemon.Guests;

/// <summary><c>lab shutdown</c> and <c>lab reboot</c>.</summary>
/// <param name="Socket">Where.</param>
/// <param name="Domain">Which.</param>
/// <param name="Step">What the guest is asked.</param>
/// <param name="Waits">The end is waited for.</param>
/// <param name="Patience">How long it may take to acknowledge.</param>
internal sealed record LabPowerRequest(string? Socket, DomainRef Domain, LabPowerStep Step, bool Waits, TimeSpan Patience) : LabRequest(Socket);

/// <summary>Asks a guest to end itself, and waits until it has heard that, or has done it.</summary>
/// <param name="keeper">Who keeps the domains.</param>
/// <param name="say">Told how it ended.</param>
internal sealed class LabPowerTool(ILabControl keeper, Action<string> say)
{
    private static readonly TimeSpan Slice = TimeSpan.FromSeconds(1);

    /// <summary>Does it.</summary>
    /// <returns>The exit code.</returns>
    public int Run(Guid uuid, LabPowerRequest request, CancellationToken cancellationToken)
    {
        var before = keeper.Report(uuid);
        var answer = keeper.Power(uuid, request.Step, TimeSpan.Zero);
        var deadline = Environment.TickCount64 + (long)request.Patience.TotalMilliseconds;
        while (answer.IsOpen())
        {
            var left = deadline - Environment.TickCount64;
            if (left <= 0 || cancellationToken.IsCancellationRequested)
            {
                // It is not to act on it when nobody expects that any more.
                answer = keeper.Power(uuid, LabPowerStep.Withdraw, TimeSpan.Zero);
                cancellationToken.ThrowIfCancellationRequested();
                if (answer.IsOpen())
                {
                    throw UserError.Failure($"domain '{before.Name}' {Silence(answer, request.Patience)}: give it longer with --timeout, or end it with 'introspect lab destroy {before.Name}'");
                }

                break;
            }

            answer = keeper.Power(uuid, LabPowerStep.Await, TimeSpan.FromMilliseconds(Math.Min(left, Slice.TotalMilliseconds)));
        }

        return request.Waits ? WaitForEnd(uuid, request, before, cancellationToken) : ExitCode.Ok;
    }

    private static string Silence(LabPowerAnswer answer, TimeSpan patience) => answer == LabPowerAnswer.Unheard
        ? $"has no PV driver that listens at control/shutdown in xenstore ({patience.TotalSeconds:0} s)"
        : $"listens at control/shutdown in xenstore and did not acknowledge ({patience.TotalSeconds:0} s)";

    private int WaitForEnd(Guid uuid, LabPowerRequest request, LabReport before, CancellationToken cancellationToken)
    {
        var report = keeper.Report(uuid);
        while (!report.HasEnded && report.Boot == before.Boot)
        {
            cancellationToken.ThrowIfCancellationRequested();
            report = keeper.WaitForEnd(uuid, Slice);
        }

        if (!report.HasEnded)
        {
            say($"domain '{report.Name}' rebooted: it is domain {report.Domain} now");
            return ExitCode.Ok;
        }

        say(LabExit.Describe(report));
        return request.Step == LabPowerStep.Reboot && report is { Reason: "reboot", Failure: null } ? ExitCode.Ok : LabExit.CodeOf(report);
    }
}
