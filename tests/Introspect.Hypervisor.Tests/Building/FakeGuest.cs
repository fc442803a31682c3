using System.Text;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Building.Acpi;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Tests.Building;

/// <summary>Guest memory as an array filled with a pattern, so that what was not written shows.</summary>
internal sealed class FakeGuest : IGuestLoader
{
    public const byte Untouched = 0xa5;

    private readonly byte[] _memory;
    private readonly byte[] _special = new byte[SpecialPages.Count * 4096];
    private readonly byte[] _hole = new byte[PvhAcpi.MostPages * 4096];
    private readonly SortedSet<ulong> _populated = [];

    public FakeGuest(ulong memoryBytes)
    {
        _memory = new byte[memoryBytes];
        _memory.AsSpan().Fill(Untouched);
        _special.AsSpan().Fill(Untouched);
    }

    public ulong MemoryBytes => (ulong)_memory.Length;

    public int VcpuCount { get; init; } = 1;

    /// <summary>Where its start info is, when a test remembers it here.</summary>
    public uint StartInfo { get; set; }

    /// <summary>The pages that it was given beside its RAM, by frame.</summary>
    public IReadOnlyCollection<ulong> Populated => _populated;

    /// <summary>The first address behind the highest byte of RAM that was written or cleared.</summary>
    public ulong HighestWritten { get; private set; }

    public bool WasTouched => _memory.AsSpan().ContainsAnyExcept(Untouched);

    /// <summary>The memory map that it was told.</summary>
    public IReadOnlyList<MemoryMapEntry> MemoryMap { get; private set; } = [];

    public void SetMemoryMap(IReadOnlyList<MemoryMapEntry> map) => MemoryMap = map;

    public void Populate(ulong gpa, ulong pages)
    {
        for (ulong page = 0; page < pages; page++)
        {
            _populated.Add((gpa >> 12) + page);
        }
    }

    public void WritePhysical(ulong gpa, ReadOnlySpan<byte> bytes) => bytes.CopyTo(Changed(gpa, bytes.Length));

    public void Clear(ulong gpa, ulong length) => Changed(gpa, (int)length).Clear();

    public byte[] Read(ulong gpa, int length) => At(gpa, length).ToArray();

    public uint U32(ulong gpa) => BitConverter.ToUInt32(At(gpa, 4));

    public ulong U64(ulong gpa) => BitConverter.ToUInt64(At(gpa, 8));

    public string Text(ulong gpa)
    {
        Span<byte> rest = At(gpa, _memory.Length - (int)gpa);
        return Encoding.UTF8.GetString(rest[..rest.IndexOf((byte)0)]);
    }

    private Span<byte> Changed(ulong gpa, int length)
    {
        HighestWritten = gpa < GuestMemoryMap.HoleStart ? Math.Max(HighestWritten, gpa + (ulong)length) : HighestWritten;
        return At(gpa, length);
    }

    private Span<byte> At(ulong gpa, int length)
    {
        ulong special = SpecialPages.FirstGfn << 12;
        if (gpa >= special)
        {
            return _special.AsSpan((int)(gpa - special), length);
        }

        if (gpa < GuestMemoryMap.HoleStart)
        {
            return _memory.AsSpan((int)gpa, length);
        }

        for (ulong page = gpa >> 12; page <= (gpa + (ulong)length - 1) >> 12; page++)
        {
            Assert.Contains(page, _populated);
        }

        return _hole.AsSpan((int)(gpa - GuestMemoryMap.HoleStart), length);
    }
}
