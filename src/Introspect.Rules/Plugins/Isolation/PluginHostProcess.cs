using System.Collections.Concurrent;
using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.IO.Pipes;
using System.Runtime.InteropServices;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Linux;
using Microsoft.Win32.SafeHandles;

namespace Introspect.Rules.Plugins.Isolation;

/// <summary>A plugin's process, as the monitor sees it. Any thread.</summary>
internal sealed class PluginHostProcess : IDisposable
{
    private const uint OwnersOnly = 0x180;

    // A start on a busy machine takes its time; a plugin that hangs while it is loaded does not get more.
    private static readonly TimeSpan StartPatience = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan CallPatience = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(2);

    private readonly PluginEntry _entry;
    private readonly Process _process;
    private readonly ControlConnection _connection;
    private readonly PluginOutput _output;
    private readonly PluginLog _log;
    private readonly Action<PluginHostProcess> _ended;
    private readonly ConcurrentDictionary<long, TaskCompletionSource<ControlMessage>> _calls = new();
    private readonly Thread _reader;
    private readonly TaskCompletionSource _gone = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _nextCall;

    private PluginHostProcess(PluginEntry entry, Process process, PluginOutput output, ControlConnection connection, PluginLog log, Action<PluginHostProcess> ended)
    {
        (_entry, _process, _output, _connection, _log, _ended) = (entry, process, output, connection, log, ended);
        Id = process.Id;
        _reader = new Thread(Read) { IsBackground = true, Name = $"plugin {entry.Name}" };
    }

    /// <summary>A socket that hangs up when the process ends.</summary>
    public SafeHandle Lifeline => _connection.Lifeline;

    /// <summary>The process.</summary>
    public int Id { get; }

    /// <summary>Why it was killed, where it was.</summary>
    public string? KilledFor { get; private set; }

    /// <summary>How it ended, for people.</summary>
    public string End { get; private set; } = "ended";

    /// <summary>Starts a process and has it load the plugin.</summary>
    /// <param name="entry">The plugin.</param>
    /// <param name="command">How the process is started.</param>
    /// <param name="log">Where the plugin's lines go.</param>
    /// <param name="ended">Called once when the process has ended, on a thread of its own.</param>
    /// <exception cref="PluginException">It does not start, or the plugin cannot be loaded.</exception>
    /// <exception cref="PluginOptionsException">The plugin's settings do not fit.</exception>
    public static PluginHostProcess Start(PluginEntry entry, PluginHostCommand command, PluginLog log, Action<PluginHostProcess> ended)
    {
        var folder = Directory.CreateTempSubdirectory("introspect-");
        Process? process = null;
        PluginOutput? output = null;
        try
        {
            var path = Path.Combine(folder.FullName, "host");
            using var listener = UnixSocket.Listen(path, 1, OwnersOnly);
            process = Launch(entry, command, path);
            output = new PluginOutput((AnonymousPipeClientStream)process.StandardError.BaseStream, entry.Name, log);
            var connection = new ControlConnection(Accept(listener, process, entry));
            var host = new PluginHostProcess(entry, process, output, connection, log, ended);
            host._reader.Start();
            process = null;
            try
            {
                host.Call(new() { Kind = ControlKind.Load, Name = entry.Name, AssemblyPath = entry.Folder.AssemblyPath, Config = entry.Config });
                return host;
            }
            catch
            {
                host.Dispose();
                throw;
            }
        }
        catch (HypervisorException e)
        {
            throw new PluginException($"the process of plugin {entry.Name} cannot be reached: {e.Message}", e);
        }
        finally
        {
            if (process is not null)
            {
                Kill(process);
                output?.Dispose();
                process.Dispose();
            }

            folder.Delete(recursive: true);
        }
    }

    /// <summary>Tells the process something and waits until it has done it.</summary>
    /// <exception cref="PluginException">It failed, or the process ended or hangs.</exception>
    /// <exception cref="PluginOptionsException">The plugin's settings do not fit.</exception>
    public ControlMessage Call(ControlMessage message, params ReadOnlySpan<SafeFileHandle> descriptors)
    {
        var call = Interlocked.Increment(ref _nextCall);
        var done = new TaskCompletionSource<ControlMessage>(TaskCreationOptions.RunContinuationsAsynchronously);
        _calls[call] = done;
        try
        {
            _connection.Send(With(message, call), descriptors);
            if (Task.WaitAny([done.Task, _gone.Task], CallPatience) < 0)
            {
                Kill("it did not do what it was told");
                throw new PluginException($"the process of plugin {_entry.Name} did not do what it was told ({message.Kind}) in {CallPatience.TotalSeconds:0} s, and is killed");
            }

            if (!done.Task.IsCompleted)
            {
                throw new PluginException($"the process of plugin {_entry.Name} {End}{When(message.Kind)}");
            }
        }
        catch (Exception e) when (e is HypervisorException or ObjectDisposedException)
        {
            throw new PluginException($"the process of plugin {_entry.Name} {End}{When(message.Kind)}", e);
        }
        finally
        {
            _calls.TryRemove(call, out _);
        }

        var reply = done.Task.Result;
        return reply switch
        {
            { Kind: ControlKind.Done } => reply,
            { Mistakes: { } mistakes } => throw new PluginOptionsException(mistakes),
            _ => throw new PluginException(reply.Text ?? $"the process of plugin {_entry.Name} failed and does not say why"),
        };
    }

    /// <summary>Ends the process at once.</summary>
    public void Kill(string why)
    {
        KilledFor ??= why;
        Kill(_process);
    }

    /// <summary>Has the process end, which lets its plugin put things in order; not for long. The thread that reads cleans up.</summary>
    public void Dispose()
    {
        try
        {
            _connection.Send(new() { Kind = ControlKind.Stop });
        }
        catch (Exception e) when (e is HypervisorException or ObjectDisposedException)
        {
            // It is gone, or does not listen.
        }

        if (!_gone.Task.Wait(StopPatience))
        {
            Kill(_process);
            _gone.Task.Wait(StopPatience);
        }
    }

    private static string When(ControlKind kind) => kind switch
    {
        ControlKind.Load => " while it loaded the plugin",
        ControlKind.Create => " while it made a handler",
        _ => "",
    };

    private static ControlMessage With(ControlMessage message, long call) => new()
    {
        Kind = message.Kind,
        Call = call,
        Handler = message.Handler,
        Name = message.Name,
        AssemblyPath = message.AssemblyPath,
        Config = message.Config,
        Domain = message.Domain,
    };

    private static Process Launch(PluginEntry entry, PluginHostCommand command, string socket)
    {
        var start = new ProcessStartInfo(command.FileName, [.. command.Arguments, socket])
        {
            RedirectStandardInput = true,

            // The monitor's own output belongs to its events, its error to its log.
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };

        // What the runtime takes for its objects; beyond it the plugin runs out of memory and nobody else.
        start.Environment["DOTNET_GCHeapHardLimit"] = string.Create(CultureInfo.InvariantCulture, $"{(long)entry.MemoryMiB << 20:x}");
        start.Environment["DOTNET_gcServer"] = "0";
        start.Environment.Remove("NOTIFY_SOCKET");
        start.Environment.Remove("WATCHDOG_USEC");
        try
        {
            var process = Process.Start(start)!;
            process.StandardInput.Close();

            // Before it does anything else it has its output go where its error goes.
            process.StandardOutput.Close();
            return process;
        }
        catch (Exception e) when (e is Win32Exception or IOException)
        {
            throw new PluginException($"the process of plugin {entry.Name} does not start: {command.FileName}: {e.Message}", e);
        }
    }

    private static UnixSocket Accept(UnixSocket listener, Process process, PluginEntry entry)
    {
        using var waiter = new DescriptorWaiter();
        var started = Stopwatch.GetTimestamp();
        while (true)
        {
            using (var descriptor = new BorrowedDescriptor(listener.Handle))
            {
                if (waiter.Wait(descriptor.Value, DescriptorWaiter.None, TimeSpan.FromMilliseconds(50), CancellationToken.None) == WaitResult.Signalled)
                {
                    var socket = listener.Accept() ?? throw new PluginException($"the process of plugin {entry.Name} cannot be reached");
                    if (socket.GetPeer().Pid == process.Id)
                    {
                        socket.SetSendTimeout(CallPatience);
                        return socket;
                    }

                    // Somebody else; who we wait for is still to come.
                    socket.Dispose();
                }
            }

            if (process.HasExited)
            {
                throw new PluginException($"the process of plugin {entry.Name} {Describe(process)} before it could load the plugin");
            }

            if (Stopwatch.GetElapsedTime(started) > StartPatience)
            {
                throw new PluginException($"the process of plugin {entry.Name} did not come up in {StartPatience.TotalSeconds:0} s");
            }
        }
    }

    private static void Kill(Process process)
    {
        try
        {
            process.Kill();
        }
        catch (Exception e) when (e is InvalidOperationException or Win32Exception)
        {
            // It ended by itself.
        }
    }

    private static string Describe(Process process)
    {
        const int Signalled = 128;
        return process.ExitCode > Signalled
            ? string.Create(CultureInfo.InvariantCulture, $"was ended by signal {process.ExitCode - Signalled}")
            : string.Create(CultureInfo.InvariantCulture, $"ended with exit code {process.ExitCode}");
    }

    private void Read()
    {
        try
        {
            while (_connection.Receive() is { } message)
            {
                if (message.Kind == ControlKind.Log)
                {
                    _log.Say(message.Level, message.Text ?? "");
                }
                else if (_calls.TryGetValue(message.Call, out var call))
                {
                    call.TrySetResult(message);
                }
            }
        }
        catch (Exception e) when (e is HypervisorException or ObjectDisposedException)
        {
            KilledFor ??= e.Message;
        }

        // Whoever closes the connection ends.
        if (!_process.WaitForExit(StopPatience))
        {
            Kill(_process);
            _process.WaitForExit();
        }

        // What it wrote is told before its end. Calls that wait are told before whoever may hold a lock for them.
        End = KilledFor is { } why ? $"was killed: {why}" : Describe(_process);
        _output.Dispose();
        _gone.TrySetResult();
        _ended(this);
        _connection.Dispose();
        _process.Dispose();
    }
}
