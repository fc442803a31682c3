using System.IO.Compression;
using Introspect.Hypervisor.Core.Building;

namespace Introspect.Hypervisor.Tests.Building;

/// <summary>Writes bzImages around a kernel, right or wrong as a test wants them.</summary>
internal sealed class TestBzImage
{
    public byte SetupSectors { get; init; } = 3;

    public ushort Version { get; init; } = 0x20f;

    /// <summary>Bytes of the real kernel's unpacking code, between the setup sectors and the payload.</summary>
    public int Decompressor { get; init; } = 0x123;

    public required byte[] Payload { get; init; }

    public byte[] Build()
    {
        int start = ((SetupSectors == 0 ? 4 : SetupSectors) + 1) * 512;
        byte[] image = [.. new byte[start + Decompressor], .. Payload, .. new byte[77]];
        image[0x1f1] = SetupSectors;
        TestElf.Put16(image, 0x1fe, 0xaa55);
        "HdrS"u8.CopyTo(image.AsSpan(0x202));
        TestElf.Put16(image, 0x206, Version);
        TestElf.Put32(image, 0x248, (uint)Decompressor);
        TestElf.Put32(image, 0x24c, (uint)Payload.Length);
        return image;
    }

    public static byte[] Gzip(byte[] kernel)
    {
        using MemoryStream packed = new();
        using (GZipStream stream = new(packed, CompressionLevel.Optimal))
        {
            stream.Write(kernel);
        }

        return packed.ToArray();
    }

    /// <summary>Packs with a tool as Linux's build does: its output, then the size.</summary>
    public static byte[] Pack(string tool, byte[] kernel, bool quickly = false)
    {
        DirectoryInfo directory = Directory.CreateTempSubdirectory("introspect-pack-");
        try
        {
            string source = Path.Combine(directory.FullName, "kernel");
            string target = Path.Combine(directory.FullName, "packed");
            File.WriteAllBytes(source, kernel);
            string[] arguments = tool switch
            {
                "xz" => ["--check=crc32", "--x86", quickly ? "--lzma2=preset=0" : "--lzma2=dict=1MiB", "--keep", "--suffix=.packed", source],
                "zstd" => ["-q", quickly ? "-1" : "-19", source, "-o", target],
                _ => ["-q", "-l", quickly ? "-1" : "-9", source, target],
            };
            (int exitCode, string output) = ExternalTool.Run(tool, arguments);
            Assert.True(exitCode == 0, output);
            return WithSize(File.ReadAllBytes(tool == "xz" ? source + ".packed" : target), (uint)kernel.Length);
        }
        finally
        {
            directory.Delete(true);
        }
    }

    public static byte[] WithSize(byte[] packed, uint size) => [.. packed, .. BitConverter.GetBytes(size)];

    /// <summary>A kernel that is not a block of lz4 long, and does not pack to nothing.</summary>
    public static byte[] Kernel(int size = 0x4000)
    {
        byte[] content = new byte[size];
        new Random(7).NextBytes(content);
        content.AsSpan(size / 2).Clear();
        return new TestElf { Segments = [(TestElf.LoadAddress, content, (ulong)size)], Symbols = [("start", TestElf.LoadAddress + 0x4000_0000, 0x12, 1)] }.Build();
    }

    public static PayloadFormat Format(string name) => PayloadFormat.All.Single(f => f.Name == name);
}
