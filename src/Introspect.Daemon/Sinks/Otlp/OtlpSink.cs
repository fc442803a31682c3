using Introspect.Hypervisor;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Sinks.Otlp;

/// <summary>
/// Events as log records to a collector. A request goes out when no record waits, or when it is large enough; while it
/// is under way the next one gathers. What a collector could not take just now is kept and sent again.
/// </summary>
internal sealed class OtlpSink(OtlpOptions options, TimeProvider time) : IEventSink
{
    private const int MaxRecords = 2048;
    private const int MaxBytes = 2 << 20;

    // A collector that is down is not asked for every record.
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(500);

    private readonly OtlpClient _client = new(options);
    private readonly OtlpLogEncoder _encoder = new();
    private (long Since, string Why)? _failed;
    private long _lost;

    /// <inheritdoc/>
    public string Name => "otlp";

    /// <inheritdoc/>
    public long Held => _encoder.Count;

    /// <inheritdoc/>
    public long Lost => _lost;

    /// <inheritdoc/>
    public void Write(in EventRecord record, DomainInfo domain)
    {
        MakeRoom();
        _encoder.Add(record, domain, time.GetUtcNow());
    }

    /// <inheritdoc/>
    public void Write(AlertRecord alert, DomainInfo domain)
    {
        MakeRoom();
        _encoder.Add(alert, domain, time.GetUtcNow());
    }

    /// <inheritdoc/>
    public void Flush()
    {
        if (_encoder.Count == 0)
        {
            return;
        }

        if (_failed is { } failed && time.GetElapsedTime(failed.Since) < Rest)
        {
            throw new IOException(failed.Why);
        }

        try
        {
            var rejected = _client.Send(_encoder.Request());
            _failed = null;
            Lose(Math.Clamp(rejected, 0, _encoder.Count));
            _encoder.Clear();
            if (rejected > 0)
            {
                // How many says the counter: a number here would make each answer a cause of its own.
                throw new RefusedException($"{options.Endpoint}: the collector rejected records of a request that it took");
            }
        }
        catch (OtlpRefusedException e)
        {
            // It would be refused for ever, and everything behind it.
            Lose(_encoder.Count);
            _encoder.Clear();
            throw new RefusedException(e.Message, e);
        }
        catch (IOException e) when (_encoder.Count != 0)
        {
            _failed = (time.GetTimestamp(), e.Message);
            throw;
        }
    }

    /// <inheritdoc/>
    public void Reopen()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Lose(_encoder.Count);
        _encoder.Clear();
        _client.Dispose();
        _encoder.Dispose();
    }

    // Before a record is taken: when this fails, it can be given again.
    private void MakeRoom()
    {
        if (_encoder.Count >= MaxRecords || _encoder.Bytes >= MaxBytes)
        {
            Flush();
        }
    }

    private void Lose(long records) => _lost += records;
}
