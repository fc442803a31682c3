using Introspect.Rules.Language;

namespace Introspect.Rules.Running;

/// <summary>Which of the watched pages were written to: a bit each, made once, so that marking allocates nothing.</summary>
internal sealed class WrittenFrames
{
    private readonly NumberRange[] _ranges;
    private readonly ulong[] _firstBits;
    private readonly ulong[] _words;

    public WrittenFrames(NumberSet frames)
    {
        _ranges = [.. frames.Ranges];
        _firstBits = new ulong[_ranges.Length];
        var bits = 0UL;
        for (var i = 0; i < _ranges.Length; i++)
        {
            _firstBits[i] = bits;
            bits += _ranges[i].Last - _ranges[i].First + 1;
        }

        _words = new ulong[(bits + 63) / 64];
    }

    public bool Contains(ulong frame) => TryBit(frame, out var bit) && (_words[bit / 64] & (1UL << (int)(bit % 64))) != 0;

    public void Set(ulong frame)
    {
        if (TryBit(frame, out var bit))
        {
            _words[bit / 64] |= 1UL << (int)(bit % 64);
        }
    }

    public void Clear(ulong frame)
    {
        if (TryBit(frame, out var bit))
        {
            _words[bit / 64] &= ~(1UL << (int)(bit % 64));
        }
    }

    /// <summary>Marks what is marked in another set, too.</summary>
    public void Remember(WrittenFrames before)
    {
        foreach (var range in _ranges)
        {
            for (var frame = range.First; ; frame++)
            {
                if (before.Contains(frame))
                {
                    Set(frame);
                }

                if (frame == range.Last)
                {
                    break;
                }
            }
        }
    }

    private bool TryBit(ulong frame, out ulong bit)
    {
        for (var i = 0; i < _ranges.Length; i++)
        {
            if (_ranges[i].Contains(frame))
            {
                bit = _firstBits[i] + (frame - _ranges[i].First);
                return true;
            }
        }

        bit = 0;
        return false;
    }
}
