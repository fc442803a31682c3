using System.Diagnostics;
using System.Globalization;
using Introspect.Hypervisor;
using Introspect.XenLab.Contract;

namespace Introspect.XenLab.Measure;

/// <summary>What a program did in the time that was measured.</summary>
/// <param name="Events">Events that the guest caused; it waits for each.</param>
/// <param name="Seconds">The time.</param>
/// <param name="CpuSeconds">Processor time of the program, the kernel's for it included.</param>
internal sealed record Measured(ulong Events, double Seconds, double CpuSeconds)
{
    public double EventsPerSecond => Events / Seconds;

    public double CpuPerEvent => CpuSeconds / Events;

    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"{EventsPerSecond:0} events/s, {CpuPerEvent * 1e6:0} us of CPU an event");
}

/// <summary>
/// A program that watches a guest which does nothing but cause events, one a round, and writes a line for each into a
/// file. The guest counts the rounds itself, so that both programs are measured by the same clock and the same count.
/// </summary>
internal sealed class ProgramRun(IDomain domain, string command, string output, string lineHas)
{
    // The program's code is warm when so many windows in a row brought nothing more: the emulator makes a compiler slow.
    // Both programs are given the same chance.
    private static readonly TimeSpan WarmWindow = TimeSpan.FromSeconds(3);
    private const int WindowsInVain = 2;
    private const int MostWarmWindows = 20;
    private const double Better = 0.95;

    // What is kept in a buffer for good: a program's stdout.
    private const ulong Buffered = 200;

    private static readonly TimeSpan Window = TimeSpan.FromSeconds(5);

    // The emulator has one processor for both: until the program watches the guest, this stands but for a look whether it does.
    private static readonly TimeSpan Stand = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan Look = TimeSpan.FromMilliseconds(500);

    // Paused, the guest causes no events, and the program finishes what it has to do.
    private static readonly TimeSpan Settle = TimeSpan.FromMilliseconds(300);

    /// <summary>Runs the program, measures it, and ends it as Ctrl-C does.</summary>
    /// <exception cref="ContractException">It ended early, saw too little, or wrote too little.</exception>
    public Measured Measure()
    {
        using var process = Process.Start(new ProcessStartInfo("sh", ["-c", $"exec {command} > {output} 2> {output}.err"]))!;
        try
        {
            AwaitOutput(process);
            var first = GuestCounter.Read(domain);
            WarmUp(process);
            Check.True(!process.HasExited, $"'{command}' runs; it said: {Said()}");
            domain.Pause();
            Thread.Sleep(Settle);
            var (events, cpu, started) = (GuestCounter.Read(domain), CpuSeconds(process.Id), Stopwatch.GetTimestamp());
            domain.Unpause();
            Thread.Sleep(Window);
            domain.Pause();
            var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
            Thread.Sleep(Settle);
            var caused = GuestCounter.Read(domain) - first;
            var measured = new Measured(GuestCounter.Read(domain) - events, seconds, CpuSeconds(process.Id) - cpu);
            domain.Unpause();
            Check.True(!process.HasExited, $"'{command}' runs to the end; it said: {Said()}");
            End(process);
            var lines = (ulong)File.ReadLines(output).Count(line => line.Contains(lineHas, StringComparison.OrdinalIgnoreCase));
            Check.True(lines + Buffered > caused, $"'{command}' wrote a line for each of {caused} events; there are {lines}");
            return measured;
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill();
            }

            File.Delete(output);
        }
    }

    private void AwaitOutput(Process process)
    {
        var started = Stopwatch.GetTimestamp();
        while (!process.HasExited && new FileInfo(output) is not { Exists: true, Length: > 0 })
        {
            Check.True(Stopwatch.GetElapsedTime(started) < Check.Patience, $"'{command}' writes something");
            domain.Pause();
            try
            {
                Thread.Sleep(Stand);
            }
            finally
            {
                domain.Unpause();
            }

            Thread.Sleep(Look);
        }
    }

    private void WarmUp(Process process)
    {
        var best = double.MaxValue;
        for (int windows = 0, inVain = 0; windows < MostWarmWindows && inVain < WindowsInVain && !process.HasExited; windows++)
        {
            var (events, cpu) = (GuestCounter.Read(domain), CpuSeconds(process.Id));
            Thread.Sleep(WarmWindow);
            var perEvent = process.HasExited ? 0 : (CpuSeconds(process.Id) - cpu) / Math.Max(1, GuestCounter.Read(domain) - events);
            inVain = perEvent < best * Better ? 0 : inVain + 1;
            best = Math.Min(best, perEvent);
        }
    }

    // xen-access may leave requests unanswered, and then a guest that stands.
    private void End(Process process)
    {
        using var kill = Process.Start("kill", ["-INT", process.Id.ToString(CultureInfo.InvariantCulture)]);
        kill.WaitForExit();
        Check.True(process.WaitForExit(Check.Patience), "the program ends when it is interrupted");
        domain.Recover();
        GuestCounter.WaitUntilItGoesOn(domain);
    }

    private string Said() => string.Join(" | ", File.ReadLines(output + ".err").Concat(File.ReadLines(output)).Take(5));

    // utime and stime, in ticks of 10 ms, behind the name in parentheses.
    private static double CpuSeconds(int process)
    {
        var fields = File.ReadAllText($"/proc/{process}/stat").Split(')')[^1].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return (long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture)) / 100.0;
    }
}
