using Introspect.Hypervisor;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Host;

namespace Introspect.Daemon.Guests;

/// <summary>
/// A domain's console with somebody before it: what the guest writes is shown as it is, what is typed goes to the guest,
/// over its reboots, until its life is over or Ctrl-] is typed.
/// </summary>
/// <param name="socketPath">Where the domain is.</param>
/// <param name="uuid">Which.</param>
/// <param name="output">What the guest writes.</param>
/// <param name="input">What is typed; null: nothing.</param>
internal sealed class ConsoleAttachment(string socketPath, Guid uuid, Stream output, Stream? input)
{
    /// <summary>Ctrl-].</summary>
    public const byte Escape = 0x1d;

    private const int BufferBytes = 4096;

    // How soon an Escape is heeded while the guest is silent; and how soon a guest is asked again that did not take all.
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan RetryInterval = TimeSpan.FromMilliseconds(20);

    /// <summary>Follows the console.</summary>
    /// <param name="lab">The host.</param>
    /// <param name="cancellationToken">Ends it as Ctrl-] does.</param>
    /// <returns>How the domain ended; null: it goes on.</returns>
    public LabReport? Run(ILabControl lab, CancellationToken cancellationToken)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        if (input is not null)
        {
            // It may wait for a key that nobody types any more, and keeps no process.
            var token = stop.Token;
            new Thread(() => ForwardInput(input, stop, token)) { IsBackground = true, Name = "introspect console" }.Start();
        }

        var buffer = new byte[BufferBytes];
        var position = 0UL;
        while (!stop.IsCancellationRequested)
        {
            var count = lab.FollowConsole(uuid, ref position, buffer, Patience, out var report);
            if (count > 0)
            {
                output.Write(buffer, 0, count);
                output.Flush();
            }
            else if (report.HasEnded)
            {
                return report;
            }
        }

        return null;
    }

    private void ForwardInput(Stream typed, CancellationTokenSource stop, CancellationToken stopped)
    {
        try
        {
            // A connection of its own: the other one waits for the guest.
            using var host = CoreHypervisor.Connect(socketPath);
            var buffer = new byte[BufferBytes];
            while (!stopped.IsCancellationRequested && typed.Read(buffer) is var count and > 0)
            {
                var escape = buffer.AsSpan(0, count).IndexOf(Escape);
                Forward(host.Lab!, buffer.AsSpan(0, escape < 0 ? count : escape), stopped);
                if (escape >= 0)
                {
                    stop.Cancel();
                    return;
                }
            }
        }
        catch (Exception e) when (e is HypervisorException or IOException or ObjectDisposedException)
        {
            // The guest has ended, or the terminal has gone; whoever reads the console hears of it.
        }
    }

    private void Forward(ILabControl lab, ReadOnlySpan<byte> typed, CancellationToken stopped)
    {
        while (!typed.IsEmpty && !stopped.IsCancellationRequested)
        {
            var taken = lab.WriteConsole(uuid, typed);
            typed = typed[taken..];
            if (!typed.IsEmpty)
            {
                stopped.WaitHandle.WaitOne(RetryInterval);
            }
        }
    }
}
