using System.Text;
using System.Text.Json;

namespace Introspect.Hypervisor.Core.Host;

/// <summary>The life of whole domains, asked of a host. Give waits a connection of their own: others wait behind them.</summary>
internal sealed partial class HostClient : ILabControl
{
    // What the host waits at most; longer waits are made of several.
    private const int MostPatience = 1000;

    /// <inheritdoc/>
    public LabReport Create(LabDescription description) =>
        Ask(new(HostOperation.LabCreate, 0, 0, 0), JsonSerializer.SerializeToUtf8Bytes(description, LabJson.Default.LabDescription));

    /// <inheritdoc/>
    public void Save(DomainId domain, LabSaveRequest request)
    {
        lock (_gate)
        {
            CallLab(new(HostOperation.LabSave, domain.Value, 0, 0), JsonSerializer.SerializeToUtf8Bytes(request, LabJson.Default.LabSaveRequest));
        }
    }

    /// <inheritdoc/>
    public void DumpCore(DomainId domain, LabDumpRequest request)
    {
        lock (_gate)
        {
            CallLab(new(HostOperation.LabDumpCore, domain.Value, 0, 0), JsonSerializer.SerializeToUtf8Bytes(request, LabJson.Default.LabDumpRequest));
        }
    }

    /// <inheritdoc/>
    public LabReport Restore(LabRestoreRequest request) =>
        Ask(new(HostOperation.LabRestore, 0, 0, 0), JsonSerializer.SerializeToUtf8Bytes(request, LabJson.Default.LabRestoreRequest));

    /// <inheritdoc/>
    public LabReport Report(Guid uuid) => Ask(new(HostOperation.LabReport, 0, 0, 0), uuid.ToByteArray(bigEndian: true));

    /// <inheritdoc/>
    public IReadOnlyList<LabReport> ReportAll()
    {
        lock (_gate)
        {
            CallLab(new(HostOperation.LabReportAll, 0, 0, 0), []);
            return LabJson.Parse(_connection.Part0, LabJson.Default.IReadOnlyListLabReport, "list of domains");
        }
    }

    /// <inheritdoc/>
    public LabReport WaitForEnd(Guid uuid, TimeSpan patience)
    {
        var deadline = DateTime.UtcNow + patience;
        while (true)
        {
            var report = Ask(new(HostOperation.LabReport, 0, 0, Slice(deadline)), uuid.ToByteArray(bigEndian: true));
            if (report.HasEnded || DateTime.UtcNow >= deadline)
            {
                return report;
            }
        }
    }

    /// <inheritdoc/>
    public int FollowConsole(Guid uuid, ref ulong position, Span<byte> destination, TimeSpan patience, out LabReport report)
    {
        var deadline = DateTime.UtcNow + patience;
        while (true)
        {
            lock (_gate)
            {
                var count = CallLab(new(HostOperation.LabFollowConsole, 0, 0, Slice(deadline), position), uuid.ToByteArray(bigEndian: true));
                if (_connection.Part0.Length != count)
                {
                    throw new HypervisorException(Errno.EBADMSG, $"the host at '{_path}' sent {_connection.Part0.Length} bytes of console and said {count}: use the same release for both");
                }

                // What does not fit is asked for again.
                report = LabJson.Parse(_connection.Part1, LabJson.Default.LabReport, "report of a domain");
                var taken = Math.Min(count, destination.Length);
                _connection.Part0[..taken].CopyTo(destination);
                position = _connection.Received.Value - (ulong)(count - taken);
                if (taken > 0 || report.HasEnded || DateTime.UtcNow >= deadline)
                {
                    return taken;
                }
            }
        }
    }

    /// <inheritdoc/>
    public int WriteConsole(Guid uuid, ReadOnlySpan<byte> input)
    {
        lock (_gate)
        {
            return CallLab(new(HostOperation.LabWriteConsole, 0, 0, 0), uuid.ToByteArray(bigEndian: true), input);
        }
    }

    private static int Slice(DateTime deadline) => (int)Math.Clamp((deadline - DateTime.UtcNow).TotalMilliseconds, 0, MostPatience);

    private LabReport Ask(HostHeader header, ReadOnlySpan<byte> part0)
    {
        lock (_gate)
        {
            CallLab(header, part0);
            return LabJson.Parse(_connection.Part0, LabJson.Default.LabReport, "report of a domain");
        }
    }

    // Under the lock.
    private int CallLab(HostHeader header, ReadOnlySpan<byte> part0, ReadOnlySpan<byte> part1 = default)
    {
        var result = Call(header, part0, part1);
        if (result >= 0)
        {
            return result;
        }

        var error = (Errno)(-result);
        if (_lost)
        {
            throw new HypervisorException(error, $"the host at '{_path}' is gone: start 'introspect lab serve' again");
        }

        // The host's exception has said its error already.
        var reason = Encoding.UTF8.GetString(_connection.Part0);
        var said = $" ({error})";
        throw new HypervisorException(error, reason.EndsWith(said, StringComparison.Ordinal) ? reason[..^said.Length] : reason);
    }
}
