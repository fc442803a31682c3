namespace Introspect.Hypervisor.Core.Host;

/// <summary>Guests that are asked to end themselves, over the socket.</summary>
internal sealed partial class HostClient
{
    /// <inheritdoc/>
    public LabPowerAnswer Power(Guid uuid, LabPowerStep step, TimeSpan patience)
    {
        var deadline = DateTime.UtcNow + patience;
        while (true)
        {
            LabPowerAnswer answer;
            lock (_gate)
            {
                answer = (LabPowerAnswer)CallLab(new(HostOperation.LabPower, 0, 0, Slice(deadline), (ulong)step), uuid.ToByteArray(bigEndian: true));
            }

            if (step != LabPowerStep.Await || !answer.IsOpen() || DateTime.UtcNow >= deadline)
            {
                return answer;
            }
        }
    }
}
