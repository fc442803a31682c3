using System.Globalization;

namespace Introspect.Daemon.Tests.Soak;

/// <summary>What the service held at some moment.</summary>
internal readonly record struct MemorySample(long Events, long Resident, long Heap, int Files);

/// <summary>The service's memory over the events of the run: below a limit, and in a long run reached in its first half.</summary>
internal sealed class SoakMemory
{
    // Full queues (twelve of 4096 records) and the libraries, with room for what is not collected yet, which is more on a
    // processor with large caches.
    private const long MostResident = 1024L << 20;
    private const long MostHeap = 768L << 20;
    private const int MostFiles = 400;

    // By how much the second half may be above the first: the heap's breathing. In a short run the first half is the start.
    private const long LongRun = 2_000_000;
    private const long Slack = 48L << 20;
    private const double Share = 1.15;
    private const int FileSlack = 40;

    private readonly List<MemorySample> _samples = [];

    /// <summary>Takes note of a moment.</summary>
    public void Add(MemorySample sample) => _samples.Add(sample);

    /// <summary>Fails when it was too much, or when the second half of the events cost more than the first.</summary>
    public void AssertBounded()
    {
        var (first, second) = Halves();
        Within("resident memory", sample => sample.Resident, MostResident, Slack);
        Within("heap", sample => sample.Heap, MostHeap, Slack);
        Within("open files", sample => sample.Files, MostFiles, FileSlack);

        void Within(string what, Func<MemorySample, long> of, long most, long slack)
        {
            var (before, after) = (first.Max(of), second.Max(of));
            Assert.True(Math.Max(before, after) <= most, $"{what}: {Math.Max(before, after)}, and {most} at most\n{this}");
            Assert.True(_samples[^1].Events < LongRun || after <= Math.Max(before + slack, before * Share), $"{what}: {before} in the first half, {after} in the second\n{this}");
        }
    }

    public override string ToString()
    {
        var (first, second) = Halves();
        return string.Join('\n', Tell("first", first), Tell("second", second));

        static string Tell(string name, IReadOnlyList<MemorySample> samples) => string.Create(CultureInfo.InvariantCulture,
            $"{name} half: resident {samples.Min(s => s.Resident) >> 20} to {samples.Max(s => s.Resident) >> 20} MiB, heap {samples.Min(s => s.Heap) >> 20} to {samples.Max(s => s.Heap) >> 20} MiB, {samples.Min(s => s.Files)} to {samples.Max(s => s.Files)} files ({samples.Count} samples)");
    }

    private (IReadOnlyList<MemorySample> First, IReadOnlyList<MemorySample> Second) Halves()
    {
        var half = _samples[^1].Events / 2;
        return ([.. _samples.Where(sample => sample.Events <= half)], [.. _samples.Where(sample => sample.Events > half)]);
    }
}
