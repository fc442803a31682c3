using System.Text;
using System.Text.Json;

namespace Introspect.Hypervisor.Core.Host;

/// <summary>The life of whole domains, asked for by a client. Where it is refused, the reply's first part says why.</summary>
internal sealed partial class HostSession
{
    // A client's thread waits no longer for something to happen; the client asks again.
    private const int MostPatience = 1000;
    private const int MostConsoleBytes = HostProtocol.MaxPacketBytes / 2;
    private const int UuidBytes = 16;

    private void AnswerLab(HostHeader call, HostHeader reply)
    {
        if (_lab is null)
        {
            _connection.Send(reply with { Argument = -(int)Errno.ENOSYS }, "this host keeps no domains: use one that 'introspect lab serve' started"u8);
            return;
        }

        try
        {
            OperateLab(_lab, call, reply);
        }
        catch (HypervisorException refused)
        {
            _connection.Send(reply with { Argument = -(int)refused.Error }, Encoding.UTF8.GetBytes(refused.Message));
        }
#pragma warning disable CA1031 // As in Try: a fault of ours is told, and ends neither the client nor the host.
        catch (Exception failure) when (failure is not IOException)
#pragma warning restore CA1031
        {
            _log($"{call.Operation} of process {_peer.Pid} failed: {failure.Message}");
            _connection.Send(reply with { Argument = -(int)Errno.EIO }, Encoding.UTF8.GetBytes($"the host failed: {failure.Message}"));
        }
    }

    private void OperateLab(ILabControl control, HostHeader call, HostHeader reply)
    {
        switch (call.Operation)
        {
            case HostOperation.LabCreate:
                SendReport(reply, control.Create(LabJson.Parse(_connection.Part0, LabJson.Default.LabDescription, "description of a domain")));
                break;
            case HostOperation.LabSave:
                control.Save(new(call.Domain), LabJson.Parse(_connection.Part0, LabJson.Default.LabSaveRequest, "request to save a domain"));
                _connection.Send(reply);
                break;
            case HostOperation.LabDumpCore:
                control.DumpCore(new(call.Domain), LabJson.Parse(_connection.Part0, LabJson.Default.LabDumpRequest, "request to dump a domain"));
                _connection.Send(reply);
                break;
            case HostOperation.LabRestore:
                SendReport(reply, control.Restore(LabJson.Parse(_connection.Part0, LabJson.Default.LabRestoreRequest, "request to restore a domain")));
                break;
            case HostOperation.LabReport:
                SendReport(reply, control.WaitForEnd(ReadUuid(), Patience(call)));
                break;
            case HostOperation.LabReportAll:
                _connection.Send(reply, JsonSerializer.SerializeToUtf8Bytes(control.ReportAll(), LabJson.Default.IReadOnlyListLabReport));
                break;
            case HostOperation.LabFollowConsole:
                var place = new byte[MostConsoleBytes];
                var position = call.Value;
                var count = control.FollowConsole(ReadUuid(), ref position, place, Patience(call), out var report);
                _connection.Send(
                    reply with { Argument = count, Value = position },
                    place.AsSpan(0, count),
                    JsonSerializer.SerializeToUtf8Bytes(report, LabJson.Default.LabReport));
                break;
            case HostOperation.LabWriteConsole:
                _connection.Send(reply with { Argument = control.WriteConsole(ReadUuid(), _connection.Part1) });
                break;
            case HostOperation.LabPower:
                var step = call.Value <= (ulong)LabPowerStep.Withdraw ? (LabPowerStep)call.Value : throw new HypervisorException(Errno.EINVAL, $"{call.Value} is nothing that a guest can be asked: use the same release on both ends");
                _connection.Send(reply with { Argument = (int)control.Power(ReadUuid(), step, Patience(call)) });
                break;
        }
    }

    private static TimeSpan Patience(HostHeader call) => TimeSpan.FromMilliseconds(Math.Clamp(call.Argument, 0, MostPatience));

    private Guid ReadUuid() => _connection.Part0.Length == UuidBytes
        ? new Guid(_connection.Part0, bigEndian: true)
        : throw new HypervisorException(Errno.EINVAL, $"{_connection.Part0.Length} bytes are no UUID: use the same release on both ends");

    private void SendReport(HostHeader reply, LabReport report) =>
        _connection.Send(reply, JsonSerializer.SerializeToUtf8Bytes(report, LabJson.Default.LabReport));
}
