using System.Buffers.Binary;

namespace Introspect.Daemon.Tests.Guests;

/// <summary>The smallest image with a PVH entry: code that is its own data, at one mebibyte.</summary>
internal static class TinyElf
{
    /// <summary>Where the code is, and begins.</summary>
    public const uint Address = 0x100000;

    private const int HeaderBytes = 52;
    private const int SegmentBytes = 32;
    private const int NoteBytes = 20;

    /// <summary>The image.</summary>
    public static byte[] Build(byte[] code)
    {
        const int Notes = HeaderBytes + (2 * SegmentBytes);
        const int Code = Notes + NoteBytes;
        var image = new byte[Code + code.Length];
        new byte[] { 0x7f, (byte)'E', (byte)'L', (byte)'F', 1, 1, 1 }.CopyTo(image, 0);
        Half(16, 2); // an executable
        Half(18, 3); // for i386
        Word(20, 1);
        Word(24, Address);
        Word(28, HeaderBytes);
        Half(40, HeaderBytes);
        Half(42, SegmentBytes);
        Half(44, 2);
        Segment(HeaderBytes, type: 1, Code, code.Length, Address);
        Segment(HeaderBytes + SegmentBytes, type: 4, Notes, NoteBytes, 0);
        Word(Notes, 4);
        Word(Notes + 4, 4);
        Word(Notes + 8, 18); // XEN_ELFNOTE_PHYS32_ENTRY
        "Xen\0"u8.CopyTo(image.AsSpan(Notes + 12));
        Word(Notes + 16, Address);
        code.CopyTo(image, Code);
        return image;

        void Half(int at, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(at), value);

        void Word(int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(at), value);

        void Segment(int at, uint type, int offset, int length, uint address)
        {
            Word(at, type);
            Word(at + 4, (uint)offset);
            Word(at + 8, address);
            Word(at + 12, address);
            Word(at + 16, (uint)length);
            Word(at + 20, (uint)length);
            Word(at + 24, 5);
            Word(at + 28, 1);
        }
    }
}
