using System.Globalization;
using Introspect.Hypervisor;

namespace Introspect.XenLab.Measure;

/// <summary>The program beside the toolstack's own example, in turns, with the same guest.</summary>
internal static class SideBySide
{
    /// <summary>Measures and says so; the medians count.</summary>
    /// <returns>True when the program is at least as fast, and takes no more processor time for an event.</returns>
    public static bool Run(IHypervisor hypervisor, string name, int rounds, TextWriter output)
    {
        using var domain = hypervisor.Open(DomainRef.Parse(name));
        var (theirs, ours) = (new List<Measured>(), new List<Measured>());
        for (var round = 1; round <= rounds; round++)
        {
            theirs.Add(new ProgramRun(domain, $"xen-access {domain.Id.Value} cpuid", "access.txt", "cpuid").Measure());
            output.WriteLine($"round {round}: xen-access {theirs[^1]}");
            ours.Add(new ProgramRun(domain, $"introspect trace {domain.Id.Value} --cpuid", "trace.txt", "cpuid").Measure());
            output.WriteLine($"round {round}: introspect {ours[^1]}");
            output.Flush();
        }

        var speed = Median(ours, static m => m.EventsPerSecond) / Median(theirs, static m => m.EventsPerSecond);
        var thrift = Median(theirs, static m => m.CpuPerEvent) / Median(ours, static m => m.CpuPerEvent);
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"ratio: {speed:0.00} in events/s, {thrift:0.00} in events per CPU time"));
        return speed >= 1 && thrift >= 1;
    }

    private static double Median(List<Measured> all, Func<Measured, double> value)
    {
        var sorted = all.Select(value).Order().ToList();
        return (sorted[(sorted.Count - 1) / 2] + sorted[sorted.Count / 2]) / 2;
    }
}
