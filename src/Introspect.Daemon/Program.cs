using System.Runtime.InteropServices;
using Introspect.Daemon;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Output;
using Introspect.Rules.Plugins.Isolation;

// A plugin's process is this program, too; nobody calls it by hand.
if (args is [PluginHostCommand.Word, var socket])
{
    return PluginHost.Run(socket);
}

using var stopping = new CancellationTokenSource();

// A second signal ends the process at once, for whoever does not want to wait.
void Stop(PosixSignalContext signal)
{
    if (!stopping.IsCancellationRequested)
    {
        signal.Cancel = true;
        stopping.Cancel();
    }
}

using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);

try
{
    using var output = StandardOutput.Open();
    using var commands = new Commands(new HypervisorFactory(), output, !Console.IsOutputRedirected, Environment.GetEnvironmentVariable, input: Console.OpenStandardInput);
    return await CommandLine.InvokeAsync(args, commands, Console.Out, Console.Error, stopping.Token).ConfigureAwait(false);
}
catch (Exception e)
{
    return CommandLine.Report(e, args.Contains("--verbose"), Console.Error);
}
