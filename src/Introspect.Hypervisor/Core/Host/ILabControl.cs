namespace Introspect.Hypervisor.Core.Host;

/// <summary>
/// The life of whole domains, as a toolstack's user sees it (what libxl is to libxc): created from a description, saved and
/// restored, built anew when they reboot, followed to their end. In this process it is the keeper of the domains itself;
/// over a socket a client that carries the requests. Every member throws <see cref="HypervisorException"/>, whose message is
/// one line for people.
/// </summary>
internal interface ILabControl
{
    /// <summary>Builds a domain and lets it run, unless it is to stay paused.</summary>
    LabReport Create(LabDescription description);

    /// <summary>Saves a domain to a file, which is there as a whole or not at all.</summary>
    void Save(DomainId domain, LabSaveRequest request);

    /// <summary>Writes a domain's vCPUs and memory to a file for a debugger; it goes on afterwards as it was.</summary>
    void DumpCore(DomainId domain, LabDumpRequest request);

    /// <summary>Builds a domain from a file, and lets it run unless it is to stay paused.</summary>
    LabReport Restore(LabRestoreRequest request);

    /// <summary>How a domain fares that is kept or has ended lately.</summary>
    /// <exception cref="HypervisorException">ESRCH: nobody knows it.</exception>
    LabReport Report(Guid uuid);

    /// <summary>All domains that are kept, with what they were created from.</summary>
    IReadOnlyList<LabReport> ReportAll();

    /// <summary>Waits until a domain's life is over, or for a while.</summary>
    /// <returns>How it fares then; ask again while <see cref="LabReport.HasEnded"/> is not set.</returns>
    LabReport WaitForEnd(Guid uuid, TimeSpan patience);

    /// <summary>
    /// Copies what a domain wrote to its console from a position on, over its reboots; where there is nothing, waits until
    /// there is, the domain's life is over, or a while has passed.
    /// </summary>
    /// <param name="uuid">The domain.</param>
    /// <param name="position">0 for what is kept of it; moved behind what was copied.</param>
    /// <param name="destination">Where to.</param>
    /// <param name="patience">How long to wait.</param>
    /// <param name="report">How it fares: with nothing copied and its life over, there will be no more.</param>
    /// <returns>Bytes copied.</returns>
    int FollowConsole(Guid uuid, ref ulong position, Span<byte> destination, TimeSpan patience, out LabReport report);

    /// <summary>Types into a domain's console.</summary>
    /// <returns>Bytes taken: what does not fit is to be tried again later.</returns>
    int WriteConsole(Guid uuid, ReadOnlySpan<byte> input);

    /// <summary>Asks a guest over xenstore to end itself, or has to do with what it was asked.</summary>
    /// <param name="uuid">The domain.</param>
    /// <param name="step">What.</param>
    /// <param name="patience">How long an answer is waited for.</param>
    /// <exception cref="HypervisorException">ENODEV: it has ended.</exception>
    LabPowerAnswer Power(Guid uuid, LabPowerStep step, TimeSpan patience);
}
