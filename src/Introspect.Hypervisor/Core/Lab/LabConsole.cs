using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Core.Lab;

/// <summary>What a domain wrote over its reboots, as one text: each boot has a console of its own, and the next goes on behind it.</summary>
internal sealed class LabConsole
{
    // The text of older boots is not kept.
    private const int Kept = 2;

    private readonly Lock _lock = new();
    private readonly List<(ulong Start, GuestConsole Console)> _boots = [];

    /// <summary>The console of the present boot.</summary>
    public GuestConsole Current
    {
        get
        {
            lock (_lock)
            {
                return _boots[^1].Console;
            }
        }
    }

    /// <summary>The domain was built.</summary>
    public void Add(GuestConsole console)
    {
        lock (_lock)
        {
            _boots.Add((_boots.Count == 0 ? 0 : _boots[^1].Start + _boots[^1].Console.Position, console));
            if (_boots.Count > Kept)
            {
                _boots.RemoveAt(0);
            }
        }
    }

    /// <summary>Copies what was written from a position on, and moves the position behind it.</summary>
    public int Read(ref ulong position, Span<byte> destination)
    {
        lock (_lock)
        {
            for (var n = 0; n < _boots.Count; n++)
            {
                var (start, console) = _boots[n];
                if (n + 1 < _boots.Count && position >= _boots[n + 1].Start)
                {
                    continue;
                }

                var own = position > start ? position - start : 0;
                var count = console.Read(ref own, destination);
                position = start + own;
                if (count > 0)
                {
                    return count;
                }
            }

            return 0;
        }
    }
}
