using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Tests.Building;

public sealed class BzImageTests
{
    [Fact]
    public void A_gzip_payload_is_unpacked_and_parsed() => Unpacks(TestBzImage.Gzip(TestBzImage.Kernel()), TestBzImage.Kernel());

    [TheoryWithTools("xz")]
    [InlineData("xz")]
    public void An_xz_payload_is_unpacked_and_parsed(string tool) => Unpacks(TestBzImage.Pack(tool, TestBzImage.Kernel()), TestBzImage.Kernel());

    [TheoryWithTools("zstd")]
    [InlineData("zstd")]
    public void A_zstd_payload_is_unpacked_and_parsed(string tool) => Unpacks(TestBzImage.Pack(tool, TestBzImage.Kernel()), TestBzImage.Kernel());

    [TheoryWithTools("lz4")]
    [InlineData("lz4")]
    public void An_lz4_payload_is_unpacked_and_parsed(string tool) => Unpacks(TestBzImage.Pack(tool, TestBzImage.Kernel()), TestBzImage.Kernel());

    [TheoryWithTools("lz4")]
    [InlineData("lz4")]
    public void An_lz4_payload_of_several_blocks_is_unpacked(string tool)
    {
        byte[] kernel = TestBzImage.Kernel(9 << 20);
        Unpacks(TestBzImage.Pack(tool, kernel), kernel);
    }

    [LinuxKernelTheory("xz", "zstd", "lz4")]
    [InlineData("gzip")]
    [InlineData("xz")]
    [InlineData("zstd")]
    [InlineData("lz4")]
    public void A_distributions_kernel_is_unpacked_from_every_form(string form)
    {
        foreach ((string _, byte[] kernel) in LinuxKernels.Unpacked())
        {
            byte[] payload = form == "gzip" ? TestBzImage.Gzip(kernel) : TestBzImage.Pack(form, kernel, quickly: true);
            Assert.True(ElfImage.TryParse(kernel, out ElfImage? image, out _));
            Assert.True(image.TryGetPvhEntry(out uint entry, out _));
            Unpacks(payload, kernel, entry);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(255)]
    public void The_payload_is_found_behind_any_number_of_setup_sectors(byte sectors)
    {
        byte[] kernel = TestBzImage.Kernel();
        Assert.True(KernelImage.TryParse(new TestBzImage { SetupSectors = sectors, Payload = TestBzImage.Gzip(kernel) }.Build(), out ElfImage? image, out _));
        Assert.Equal(kernel, image.Bytes.ToArray());
    }

    [Fact]
    public void An_elf_image_is_opened_as_it_is()
    {
        byte[] kernel = TestBzImage.Kernel();
        Assert.True(KernelImage.TryParse(kernel, out ElfImage? image, out _));
        Assert.Equal(kernel, image.Bytes.ToArray());
    }

    [Fact]
    public void An_unpacked_kernel_that_is_not_elf_is_refused() => Refused(TestBzImage.Gzip(new byte[0x1000]), ElfErrorKind.NotElf, "00000000");

    [Fact]
    public void An_old_boot_protocol_is_refused_with_its_version() =>
        Refused(new TestBzImage { Version = 0x207, Payload = [1, 2, 3, 4] }.Build(), ElfErrorKind.BadBzImage, "boot protocol 2.07", whole: true);

    [Fact]
    public void A_file_that_ends_in_its_setup_header_is_refused() =>
        Refused(new TestBzImage { Payload = [1] }.Build()[..0x24f], ElfErrorKind.Truncated, "591 bytes of 592", whole: true);

    [Theory]
    [InlineData(0x248)]
    [InlineData(0x24c)]
    public void A_payload_outside_the_file_is_refused(int field)
    {
        byte[] image = new TestBzImage { Payload = TestBzImage.Gzip(TestBzImage.Kernel()) }.Build();
        TestElf.Put32(image, field, 0xffff_fff0);
        Refused(image, ElfErrorKind.Truncated, "0xfffffff0", whole: true, orWords: "0x1000007f0");
    }

    [Theory]
    [InlineData("425a6839", "bzip2")]
    [InlineData("5d000000", "LZMA")]
    [InlineData("894c5a4f", "LZO")]
    [InlineData("01020304", "'01020304'")]
    [InlineData("", "''")]
    public void Other_packings_are_refused_by_name(string start, string words) => Refused(Convert.FromHexString(start), ElfErrorKind.UnknownPacking, words);

    [Theory]
    [InlineData(0u)]
    [InlineData(1u << 30)]
    [InlineData(uint.MaxValue)]
    public void A_size_that_no_kernel_has_is_refused_before_memory_is_allocated(uint size)
    {
        byte[] payload = TestBzImage.WithSize([0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0], size);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Refused(payload, ElfErrorKind.BadPayload, $"{size} unpacked");
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(1)]
    [InlineData(-0x1000)]
    public void A_gzip_payload_of_another_size_than_it_says_is_refused(int difference)
    {
        byte[] kernel = TestBzImage.Kernel();
        byte[] payload = TestBzImage.Gzip(kernel);
        TestElf.Put32(payload, payload.Length - 4, (uint)(kernel.Length + difference));
        Refused(payload, ElfErrorKind.BadPayload, "packed with gzip, cannot be unpacked");
    }

    [TheoryWithTools("xz", "zstd", "lz4")]
    [InlineData("xz", -1)]
    [InlineData("xz", 1)]
    [InlineData("zstd", -1)]
    [InlineData("zstd", 1)]
    [InlineData("lz4", -1)]
    [InlineData("lz4", 1)]
    public void A_payload_of_another_size_than_it_says_is_refused(string tool, int difference)
    {
        byte[] kernel = TestBzImage.Kernel();
        byte[] payload = TestBzImage.Pack(tool, kernel);
        TestElf.Put32(payload, payload.Length - 4, (uint)(kernel.Length + difference));
        Refused(payload, ElfErrorKind.BadPayload, $"packed with {tool}, cannot be unpacked");
    }

    [TheoryWithTools("xz", "zstd", "lz4")]
    [InlineData("gzip")]
    [InlineData("xz")]
    [InlineData("zstd")]
    [InlineData("lz4")]
    public void A_damaged_payload_is_refused_and_never_more_is_unpacked_than_it_says(string tool)
    {
        byte[] kernel = TestBzImage.Kernel();
        byte[] payload = tool == "gzip" ? TestBzImage.Gzip(kernel) : TestBzImage.Pack(tool, kernel);
        PayloadFormat format = TestBzImage.Format(tool);
        Random random = new(11);
        for (int i = 0; i < 500; i++)
        {
            byte[] damaged = [.. payload];
            damaged[random.Next(damaged.Length - 4)] ^= (byte)(1 << random.Next(8));
            if (KernelPayload.TryUnpack(damaged, format, out ReadOnlyMemory<byte> unpacked, out ElfError? error))
            {
                Assert.Equal(kernel.Length, unpacked.Length);
            }
            else
            {
                Assert.Equal(ElfErrorKind.BadPayload, error.Kind);
                Assert.DoesNotContain('\n', error.Message);
            }
        }
    }

    [Fact]
    public void A_library_that_is_not_there_is_one_line_with_its_package()
    {
        PayloadFormat format = TestBzImage.Format("zstd") with { Library = new SystemLibrary("libnosuchthing.so.9", "libnosuchthing9") };
        Assert.False(KernelPayload.TryUnpack(TestBzImage.WithSize([0x28, 0xb5, 0x2f, 0xfd], 100), format, out _, out ElfError? error));
        Assert.Equal(ElfErrorKind.LibraryMissing, error.Kind);
        Assert.Equal("the bzImage's kernel is packed with zstd, and libnosuchthing.so.9 is missing; install the package libnosuchthing9 (Debian's name)", error.Message);
    }

    [Fact]
    public void A_dictionary_that_needs_too_much_memory_is_refused()
    {
        // A stream header, and a block header with one LZMA2 filter whose dictionary has 1.5 GiB.
        byte[] header = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x01];
        byte[] block = [0x02, 0x00, 0x21, 0x01, 0x25, 0x00, 0x00, 0x00];
        byte[] stream = [.. header, .. Crc32(header.AsSpan(6)), .. block, .. Crc32(block), .. new byte[64]];
        if (TestBzImage.Format("xz").Library!.IsInstalled)
        {
            Refused(TestBzImage.WithSize(stream, 1000), ElfErrorKind.BadPayload, "memory");
        }
    }

    private static byte[] Crc32(ReadOnlySpan<byte> bytes)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in bytes)
        {
            crc ^= b;
            for (int i = 0; i < 8; i++)
            {
                crc = (crc >> 1) ^ ((crc & 1) * 0xedb8_8320);
            }
        }

        return BitConverter.GetBytes(~crc);
    }

    private static void Unpacks(byte[] payload, byte[] kernel, uint expectedEntry = TestElf.Entry)
    {
        bool parsed = KernelImage.TryParse(new TestBzImage { Payload = payload }.Build(), out ElfImage? image, out ElfError? error);
        Assert.True(parsed, error?.Message);
        Assert.True(kernel.AsSpan().SequenceEqual(image!.Bytes.Span));
        Assert.True(image.TryGetPvhEntry(out uint entry, out _));
        Assert.Equal(expectedEntry, entry);
    }

    private static void Refused(byte[] bytes, ElfErrorKind kind, string words, bool whole = false, string? orWords = null)
    {
        Assert.False(KernelImage.TryParse(whole ? bytes : new TestBzImage { Payload = bytes }.Build(), out _, out ElfError? error));
        Assert.Equal(kind, error.Kind);
        Assert.True(error.Message.Contains(words, StringComparison.Ordinal) || (orWords is not null && error.Message.Contains(orWords, StringComparison.Ordinal)), error.Message);
        Assert.DoesNotContain('\n', error.Message);
        Assert.Contains(';', error.Message);
    }
}
