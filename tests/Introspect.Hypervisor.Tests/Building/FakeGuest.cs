using System.Text;
using Introspect.Hypervisor.Core.Building;

namespace Introspect.Hypervisor.Tests.Building;

/// <summary>Guest memory as an array filled with a pattern, so that what was not written shows.</summary>
internal sealed class FakeGuest : IGuestLoader
{
    public const byte Untouched = 0xa5;

    private readonly byte[] _memory;
    private readonly byte[] _special = new byte[SpecialPages.Count * 4096];

    public FakeGuest(ulong memoryBytes)
    {
        _memory = new byte[memoryBytes];
        _memory.AsSpan().Fill(Untouched);
        _special.AsSpan().Fill(Untouched);
    }

    public ulong MemoryBytes => (ulong)_memory.Length;

    /// <summary>The first address behind the highest byte that was written or cleared.</summary>
    public ulong HighestWritten { get; private set; }

    public bool WasTouched => _memory.AsSpan().ContainsAnyExcept(Untouched);

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
        HighestWritten = Math.Max(HighestWritten, gpa + (ulong)length);
        return At(gpa, length);
    }

    private Span<byte> At(ulong gpa, int length)
    {
        ulong special = SpecialPages.FirstGfn << 12;
        return gpa >= special
            ? _special.AsSpan((int)(gpa - special), length)
            : _memory.AsSpan((int)gpa, length);
    }
}
