using Introspect.Daemon.Sinks;
using Introspect.Hypervisor;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Tests.Fakes;

/// <summary>A sink that can be held up and can fail.</summary>
internal sealed class CountingSink : IEventSink
{
    private readonly ManualResetEventSlim _open = new(true);
    private int _writes;
    private int _reopened;

    public string Name => "counting";

    public int Writes => Volatile.Read(ref _writes);

    public int Reopened => Volatile.Read(ref _reopened);

    public bool IsDisposed { get; private set; }

    public Exception? Fail { get; set; }

    public void Hold() => _open.Reset();

    public void Release() => _open.Set();

    public void Write(in EventRecord record, DomainInfo domain)
    {
        _open.Wait();
        if (Fail is { } failure)
        {
            throw failure;
        }

        Interlocked.Increment(ref _writes);
    }

    public int Alerts { get; private set; }

    public void Write(AlertRecord alert, DomainInfo domain) => Alerts++;

    public void Flush()
    {
    }

    public void Reopen() => Interlocked.Increment(ref _reopened);

    public void Dispose()
    {
        IsDisposed = true;
        _open.Dispose();
    }
}
