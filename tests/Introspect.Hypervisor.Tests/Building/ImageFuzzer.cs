using System.Buffers.Binary;
using Introspect.Hypervisor.Core.Building;

namespace Introspect.Hypervisor.Tests.Building;

/// <summary>
/// One good image and the damaged ones that are made of it, mostly where its tables, notes and symbols are. An input is
/// made from its number alone, so that any one of them can be made again.
/// </summary>
internal sealed class ImageFuzzer
{
    private readonly byte[] _good;
    private readonly byte[] _input;
    private readonly List<(int Start, int Length)> _places;
    private readonly List<(int Start, int Length)> _damage = [];

    public ImageFuzzer(string name, byte[] good)
    {
        Name = name;
        _good = good;
        _input = [.. good];
        _places = [.. Places(good).Where(p => p.Length > 0), (0, good.Length)];
    }

    public string Name { get; }

    public int Size => _good.Length;

    /// <summary>Makes an input; it is valid until the next is made.</summary>
    public ReadOnlyMemory<byte> Make(int number)
    {
        foreach ((int start, int length) in _damage)
        {
            _good.AsSpan(start, length).CopyTo(_input.AsSpan(start));
        }

        _damage.Clear();
        Random random = new(number);
        for (int mutations = random.Next(1, 6); mutations > 0; mutations--)
        {
            Mutate(random);
        }

        return random.Next(12) == 0 ? _input.AsMemory(0, random.Next(_input.Length)) : _input;
    }

    private void Mutate(Random random)
    {
        (int start, int length) = _places[random.Next(_places.Count)];
        int width = 1 << random.Next(4);
        int at = start + random.Next(length);
        // Fields are aligned; now and then one is not.
        at = random.Next(8) == 0 ? at : start + ((at - start) & -Math.Min(width, 4));
        if (at + width > _input.Length)
        {
            return;
        }

        Span<byte> value = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(value, Value(random, Old(at)));
        value[..width].CopyTo(_input.AsSpan(at));
        _damage.Add((at, width));
    }

    private ulong Old(int at)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        bytes.Clear();
        _input.AsSpan(at, Math.Min(bytes.Length, _input.Length - at)).CopyTo(bytes);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    private ulong Value(Random random, ulong old) => random.Next(12) switch
    {
        0 => 0,
        1 => ulong.MaxValue,
        2 => 0x7fff_ffff_7fff_ffff,
        3 => 0x8000_0000_8000_0000,
        4 => (ulong)(_good.Length + random.Next(-2, 3)),
        5 => (ulong)random.Next(_good.Length),
        6 => old + 1,
        7 => old - 1,
        8 => old ^ (1UL << random.Next(64)),
        9 => (ulong)random.Next(0, 80),
        10 => ulong.MaxValue - (ulong)random.Next(_good.Length),
        _ => (ulong)random.NextInt64(),
    };

    private static List<(int Start, int Length)> Places(byte[] good)
    {
        if (BzImage.Is(good))
        {
            Assert.True(BzImage.TryFindPayload(good, out ReadOnlyMemory<byte> payload, out _));
            int start = good.Length - 77 - payload.Length;
            return [(0x1f1, 0x5f), (0x1f1, 1), (0x206, 2), (0x248, 8), (start, 64), (start, payload.Length), (start + payload.Length - 12, 12)];
        }

        Assert.True(ElfImage.TryParse(good, out ElfImage? image, out ElfError? error), error?.Message);
        bool is64 = image.Is64;
        int programs = (int)(is64 ? BinaryPrimitives.ReadUInt64LittleEndian(good.AsSpan(32)) : BinaryPrimitives.ReadUInt32LittleEndian(good.AsSpan(28)));
        List<(int, int)> places =
        [
            (0, ElfFormat.HeaderSize(is64)), (16, ElfFormat.HeaderSize(is64) - 16),
            (programs, image.Segments.Count * ElfFormat.ProgramHeaderSize(is64)),
        ];
        if (image.Sections.Count != 0)
        {
            int sections = (int)(is64 ? BinaryPrimitives.ReadUInt64LittleEndian(good.AsSpan(40)) : BinaryPrimitives.ReadUInt32LittleEndian(good.AsSpan(32)));
            places.Add((sections, image.Sections.Count * ElfFormat.SectionHeaderSize(is64)));
            places.AddRange(image.Sections.Where(s => s.HasBytes && s.Type != ElfFormat.SectionProgbits || s.Name == XenGuestSection.Name).Select(s => ((int)s.Offset, (int)s.Size)));
        }

        places.AddRange(image.Segments.Where(s => s.Type == ElfFormat.SegmentNote).Select(s => ((int)s.Offset, (int)s.FileSize)));
        return places;
    }
}
