using System.Diagnostics;
using Introspect.Daemon.Cli;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Host;

namespace Introspect.Daemon.Guests;

/// <summary>The process that holds the domains: found behind its socket, or started.</summary>
internal static class LabHost
{
    private const int LookInterval = 20;

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    /// <summary>Connects to the host.</summary>
    /// <exception cref="UserError">There is none.</exception>
    public static CoreHypervisor Connect(string socketPath)
    {
        try
        {
            return CoreHypervisor.Connect(socketPath);
        }
        catch (HypervisorException e) when (IsNobody(e))
        {
            throw UserError.Failure($"--socket '{socketPath}': no lab is there; 'introspect lab create' starts one", e);
        }
    }

    /// <summary>Connects to the host, and starts one where there is none. It ends by itself when nothing is left in it.</summary>
    /// <param name="socketPath">Where.</param>
    /// <param name="log">Where its log goes; null: beside the socket.</param>
    /// <param name="tell">Told when one is started.</param>
    public static CoreHypervisor ConnectOrStart(string socketPath, string? log, Action<string> tell)
    {
        try
        {
            return CoreHypervisor.Connect(socketPath);
        }
        catch (HypervisorException e) when (IsNobody(e))
        {
            LabSocket.MakeFolder(socketPath);
            return Start(socketPath, Path.GetFullPath(log ?? socketPath + ".log"), tell);
        }
    }

    private static CoreHypervisor Start(string socketPath, string log, Action<string> tell)
    {
        var (fileName, arguments) = ProgramInfo.Again("lab", "serve", "--socket", Path.GetFullPath(socketPath), "--until-empty");

        // A session of its own, so that neither Ctrl-C nor the end of the terminal reaches it; and nothing of ours stays open in it.
        using var process = Process.Start("/bin/sh", ["-c", "exec </dev/null >>\"$0\" 2>&1 && exec setsid \"$@\"", log, fileName, .. arguments]);
        var deadline = Environment.TickCount64 + (long)Patience.TotalMilliseconds;
        while (true)
        {
            // Asked before the socket: it may be there in the meantime.
            var hasEnded = process.HasExited;
            try
            {
                var host = CoreHypervisor.Connect(socketPath);

                // Another one may have been faster; then ours gives up.
                if ((host.Toolstack as HostClient)?.HostProcess == process.Id)
                {
                    tell($"started 'introspect lab serve' (process {process.Id}); its log is {log}");
                }

                return host;
            }
            catch (HypervisorException e) when (IsNobody(e))
            {
                if (hasEnded || Environment.TickCount64 > deadline)
                {
                    throw UserError.Failure($"--socket '{socketPath}': 'introspect lab serve' {(hasEnded ? "ended at once" : "does not listen")}; its log '{log}' says why{LastLine(log)}", e);
                }
            }

            Thread.Sleep(LookInterval);
        }
    }

    // One that is just ending counts as none.
    private static bool IsNobody(HypervisorException e) => e.Error is Errno.ENOENT or Errno.ECONNREFUSED or Errno.ENOTCONN or Errno.EPIPE;

    private static string LastLine(string log)
    {
        try
        {
            return File.ReadLines(log).LastOrDefault(static line => line.Length != 0) is { } line ? $": {line}" : "";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
