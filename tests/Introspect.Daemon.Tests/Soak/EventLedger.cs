using System.Buffers.Text;
using System.Text;

namespace Introspect.Daemon.Tests.Soak;

/// <summary>Which events of which domain came out somewhere, found in whatever holds them as the program's JSON.</summary>
internal sealed class EventLedger
{
    private readonly Lock _gate = new();
    private readonly Dictionary<int, List<ulong>> _seen = [];
    private long _events;
    private long _distinct;
    private long _alerts;

    /// <summary>Events, each as often as it came.</summary>
    public long Events => Volatile.Read(ref _events);

    /// <summary>Events, each once.</summary>
    public long Distinct => Volatile.Read(ref _distinct);

    /// <summary>Alerts.</summary>
    public long Alerts => Volatile.Read(ref _alerts);

    /// <summary>Takes note of what is in a text.</summary>
    public void Read(ReadOnlySpan<byte> text)
    {
        lock (_gate)
        {
            for (int at; (at = text.IndexOf("{\"type\":\""u8)) >= 0;)
            {
                text = text[(at + 9)..];
                if (text.StartsWith("event\""u8))
                {
                    Note((int)Number(ref text, "\"sequence\":"u8, out var sequence), sequence);
                }
                else if (text.StartsWith("alert\""u8))
                {
                    Volatile.Write(ref _alerts, _alerts + 1);
                }
            }
        }
    }

    /// <summary>What is wrong where a domain had so many events, each of which must be here; null when all is right.</summary>
    public string? Missing(int domain, ulong events)
    {
        lock (_gate)
        {
            var seen = _seen.GetValueOrDefault(domain) ?? [];
            for (var sequence = 1ul; sequence <= events; sequence++)
            {
                if (!Has(seen, sequence))
                {
                    return $"domain {domain}: event {sequence} of {events} is missing";
                }
            }

            return Has(seen, events + 1) ? $"domain {domain}: there is an event {events + 1}" : null;
        }
    }

    private static bool Has(List<ulong> seen, ulong sequence) =>
        (int)(sequence >> 6) < seen.Count && (seen[(int)(sequence >> 6)] & (1ul << (int)(sequence & 63))) != 0;

    // The sequence number, and as the result the domain's, which follows it.
    private static ulong Number(ref ReadOnlySpan<byte> text, ReadOnlySpan<byte> name, out ulong sequence)
    {
        sequence = Next(ref text, name);
        return Next(ref text, "\"domain\":"u8);
    }

    private static ulong Next(ref ReadOnlySpan<byte> text, ReadOnlySpan<byte> name)
    {
        var at = text.IndexOf(name);
        var number = 0UL;
        Assert.True(at >= 0 && Utf8Parser.TryParse(text[(at + name.Length)..], out number, out _), $"torn: {Encoding.UTF8.GetString(text[..Math.Min(200, text.Length)])}");
        text = text[(at + name.Length)..];
        return number;
    }

    private void Note(int domain, ulong sequence)
    {
        if (!_seen.TryGetValue(domain, out var seen))
        {
            _seen.Add(domain, seen = []);
        }

        while (seen.Count <= (int)(sequence >> 6))
        {
            seen.Add(0);
        }

        Volatile.Write(ref _events, _events + 1);
        if (!Has(seen, sequence))
        {
            seen[(int)(sequence >> 6)] |= 1ul << (int)(sequence & 63);
            Volatile.Write(ref _distinct, _distinct + 1);
        }
    }
}
