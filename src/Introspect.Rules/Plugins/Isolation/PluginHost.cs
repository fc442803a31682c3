using System.Diagnostics;
using System.Runtime.InteropServices;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;
using Introspect.Rules.Handlers;
using Microsoft.Win32.SafeHandles;

namespace Introspect.Rules.Plugins.Isolation;

/// <summary>
/// A plugin's process: holds one plugin, and does what the monitor says until the monitor lets it end or is gone.
/// </summary>
internal sealed class PluginHost : IDisposable
{
    private readonly ControlConnection _monitor;
    private readonly Dictionary<int, HostedHandler> _handlers = [];
    private LoadedPlugin? _plugin;
    private string _name = "";

    private PluginHost(ControlConnection monitor) => _monitor = monitor;

    /// <summary>Runs a plugin's process.</summary>
    /// <param name="socket">Where the monitor listens.</param>
    /// <returns>The exit code.</returns>
    public static int Run(string socket)
    {
        // A signal to all of the service is the monitor's to answer, which then lets this process end.
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, static signal => signal.Cancel = true);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, static signal => signal.Cancel = true);
        using var hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, static signal => signal.Cancel = true);

        // The monitor takes what comes out of this process in the order in which it is written.
        StandardDescriptors.JoinOutputAndError();
        Console.SetOut(Console.Error);
        PreferToDie();
        LimitMemory();
        using var host = new PluginHost(new(UnixSocket.Connect(socket)));
        return host.Serve();
    }

    /// <inheritdoc/>
    public void Dispose() => _monitor.Dispose();

    // When memory runs out, the plugin goes before the monitor.
    private static void PreferToDie()
    {
        try
        {
            File.WriteAllText("/proc/self/oom_score_adj", "500");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // As it is, then.
        }
    }

    // The heap of objects has its limit from the runtime; this one is for all else that a plugin may leak, native libraries'
    // memory and threads among it. What the runtime needs for itself is far below the room that is left for it; its thread pool,
    // whose stacks count with all that they may become, grows with the processors.
    private static void LimitMemory()
    {
        const ulong Room = 512ul << 20;
        const ulong RoomForProcessor = 32ul << 20;
        try
        {
            ProcessMemory.Limit((ulong)GC.GetGCMemoryInfo().TotalAvailableMemoryBytes + Room + ((ulong)Environment.ProcessorCount * RoomForProcessor));
        }
        catch (HypervisorException)
        {
            // A lower limit is in force.
        }
    }

    private int Serve()
    {
        var descriptors = new List<SafeFileHandle>();
        while (_monitor.Receive(descriptors) is { } message)
        {
            if (message.Kind == ControlKind.Stop)
            {
                Stop();
                return 0;
            }

            var reply = Do(message, descriptors);
            descriptors.Clear();
            if (message.Call != 0)
            {
                _monitor.Send(reply);
            }
        }

        // The monitor is gone: a handler that hangs, or a thread of the plugin's, must not keep this process.
        Process.GetCurrentProcess().Kill();
        return 1;
    }

    private ControlMessage Do(ControlMessage message, List<SafeFileHandle> descriptors)
    {
        try
        {
            switch (message.Kind)
            {
                case ControlKind.Load:
                    _name = message.Name!;
                    _plugin = LoadedPlugin.Load(message.AssemblyPath!, _name, message.Config ?? new Dictionary<string, string?>(), isCollectible: false, Log);
                    return new() { Kind = ControlKind.Done, Call = message.Call };
                case ControlKind.Create:
                    var subscription = Create(message, descriptors);
                    return new() { Kind = ControlKind.Done, Call = message.Call, Subscription = subscription };
                case ControlKind.Close when _handlers.Remove(message.Handler, out var handler):
                    handler.Close();
                    return new() { Kind = ControlKind.Done, Call = message.Call };
                default:
                    return new() { Kind = ControlKind.Failed, Call = message.Call, Text = $"a plugin's process was told {message.Kind}, which makes no sense now" };
            }
        }
        catch (PluginOptionsException e)
        {
            return new() { Kind = ControlKind.Failed, Call = message.Call, Mistakes = e.Mistakes };
        }
#pragma warning disable CA1031 // The monitor is told, whatever it is.
        catch (Exception e)
#pragma warning restore CA1031
        {
            return new() { Kind = ControlKind.Failed, Call = message.Call, Text = e is PluginException or ArgumentException ? e.Message : LoadedPlugin.Explain(e) };
        }
    }

    private SubscriptionWire Create(ControlMessage message, List<SafeFileHandle> descriptors)
    {
        if (_plugin is null || message.Domain is not { } domain || descriptors.Count != 3)
        {
            throw new PluginException("a plugin's process was asked for a handler before it had a plugin");
        }

        var box = CallBox.Adopt(new(descriptors[0], descriptors[1], descriptors[2]));
        IEventHandler? handler = null;
        try
        {
            handler = _plugin.Create(domain.ToInfo());
            var subscription = SubscriptionWire.Of(_name, handler);
            _handlers.Add(message.Handler, new(_name, new DomainId(domain.Id), handler, box));
            return subscription;
        }
        catch
        {
            box.Dispose();
            (handler as IDisposable)?.Dispose();
            throw;
        }
    }

    private void Stop()
    {
        foreach (var handler in _handlers.Values)
        {
            handler.Close();
        }

        _plugin?.Dispose();
    }

    private void Log(PluginLogLevel level, string text)
    {
        const int LongestLine = 4096;
        try
        {
            _monitor.Send(new() { Kind = ControlKind.Log, Level = level, Text = text.Length > LongestLine ? text[..LongestLine] : text });
        }
        catch (HypervisorException)
        {
            // The monitor is gone, and this process goes, too.
        }
    }
}
