using Introspect.Daemon.Cli;
using Introspect.Daemon.Control;
using Spectre.Console;

namespace Introspect.Daemon.Top;

/// <summary><c>introspect top</c>: looks at a service again and again, and shows what happened in between.</summary>
internal sealed class TopCommand(TopRequest request, TextWriter output, bool isTerminal, Func<string, string?> variable)
{
    /// <summary>Runs until told to stop, or with <c>--once</c> for one table.</summary>
    /// <returns>The exit code.</returns>
    public async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        using var client = await ControlClient.ConnectAsync(request.Socket, cancellationToken).ConfigureAwait(false);
        var console = CreateConsole();
        try
        {
            var before = await LookAsync(client, cancellationToken).ConfigureAwait(false);
            if (isTerminal && !request.Once)
            {
                await ShowAsync(console, client, before, cancellationToken).ConfigureAwait(false);
            }
            else
            {
                await PrintAsync(console, client, before, cancellationToken).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Ctrl-C is how it ends.
        }

        return ExitCode.Ok;
    }

    private async Task PrintAsync(IAnsiConsole console, ControlClient client, ServiceStatus before, CancellationToken cancellationToken)
    {
        do
        {
            await Task.Delay(request.Interval, cancellationToken).ConfigureAwait(false);
            var now = await LookAsync(client, cancellationToken).ConfigureAwait(false);
            console.Write(TopView.Of(before, now));
            await output.FlushAsync(cancellationToken).ConfigureAwait(false);
            before = now;
        }
        while (!request.Once);
    }

    private async Task ShowAsync(IAnsiConsole console, ControlClient client, ServiceStatus before, CancellationToken cancellationToken) =>
        await console.Live(TopView.Of(before, before)).AutoClear(false).Overflow(VerticalOverflow.Ellipsis).StartAsync(async live =>
        {
            live.Refresh();
            while (true)
            {
                await output.FlushAsync(cancellationToken).ConfigureAwait(false);
                await Task.Delay(request.Interval, cancellationToken).ConfigureAwait(false);
                var now = await LookAsync(client, cancellationToken).ConfigureAwait(false);
                live.UpdateTarget(TopView.Of(before, now));
                before = now;
            }
        }).ConfigureAwait(false);

    private static async Task<ServiceStatus> LookAsync(ControlClient client, CancellationToken cancellationToken)
    {
        var response = await client.AskAsync(ControlProtocol.Status, cancellationToken).ConfigureAwait(false);
        return response is { Ok: true, Status: { } status } ? status : throw UserError.Failure(string.Join("; ", response.Errors));
    }

    private IAnsiConsole CreateConsole()
    {
        var colours = isTerminal && string.IsNullOrEmpty(variable("NO_COLOR")) && variable("TERM") != "dumb";
        var console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = isTerminal && variable("TERM") != "dumb" ? AnsiSupport.Yes : AnsiSupport.No,
            ColorSystem = colours ? ColorSystemSupport.Standard : ColorSystemSupport.NoColors,
            Interactive = InteractionSupport.No,
            Out = new AnsiConsoleOutput(output),
        });
        if (!isTerminal)
        {
            console.Profile.Width = TopView.Columns;
        }

        return console;
    }
}
