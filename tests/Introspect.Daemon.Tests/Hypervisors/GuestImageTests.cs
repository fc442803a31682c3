using System.Buffers.Binary;
using System.IO.Compression;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Hypervisors;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Daemon.Tests.Hypervisors;

public sealed class GuestImageTests : IDisposable
{
    private const uint SymbolTableType = 2;
    private const int HeaderSize = 64;

    private readonly string _path = Path.GetTempFileName();

    public void Dispose() => File.Delete(_path);

    [Fact]
    public void a_whole_image_has_its_symbols_and_no_warning()
    {
        var image = Load(DemoGuest.Build().Image);
        Assert.Empty(image.Warnings);
        Assert.NotEmpty(image.Symbols.AddressesOf("counter"));
    }

    [Fact]
    public void an_image_with_a_damaged_symbol_table_boots_without_symbols_and_with_a_warning()
    {
        var image = Load(WithDamagedSymbols());
        Assert.Equal($"kernel '{_path}' boots without symbols: symbols of 23 bytes in section 4 (sh_entsize must be 24); the image is damaged, build it anew or strip its symbols", Assert.Single(image.Warnings));
        Assert.Empty(image.Symbols.Names);
    }

    [Fact]
    public void an_image_with_a_section_whose_name_is_nowhere_boots_with_its_symbols_and_with_a_warning()
    {
        var bytes = DemoGuest.Build().Image;
        var sections = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(40));
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(sections + HeaderSize), 0xffff);
        var image = Load(bytes);
        Assert.StartsWith($"kernel '{_path}' boots without the name of a section: section 1 has its name at 0xffff, ", Assert.Single(image.Warnings), StringComparison.Ordinal);
        Assert.NotEmpty(image.Symbols.AddressesOf("counter"));
    }

    [Fact]
    public async Task the_warning_is_a_line_on_stderr_and_the_guest_is_traced()
    {
        File.WriteAllBytes(_path, WithDamagedSymbols());
        var (exitCode, output, error) = await DocumentedCommand.RunAsync(["trace", "--kernel", _path, "--cpuid", "--count", "1"], static _ => false, new TaskCompletionSource().Task);
        Assert.Equal(0, exitCode);
        Assert.Contains("cpuid", output, StringComparison.Ordinal);
        Assert.StartsWith($"introspect: warning: kernel '{_path}' boots without symbols: ", Assert.Single(error.TrimEnd().Split('\n')), StringComparison.Ordinal);
    }

    [Fact]
    public async Task a_bzimage_is_unpacked_and_traced()
    {
        File.WriteAllBytes(_path, BzImage(DemoGuest.Build().Image));
        var (exitCode, output, error) = await DocumentedCommand.RunAsync(["trace", "--kernel", _path, "--cpuid", "--count", "1"], static _ => false, new TaskCompletionSource().Task);
        Assert.Equal("", error);
        Assert.Equal(0, exitCode);
        Assert.Contains("cpuid", output, StringComparison.Ordinal);
    }

    [Fact]
    public void a_bzimage_that_cannot_be_unpacked_is_one_line_with_its_path()
    {
        var bytes = BzImage(DemoGuest.Build().Image);
        "BZh9"u8.CopyTo(bytes.AsSpan(1024));
        var error = Assert.Throws<UserError>(() => Load(bytes));
        Assert.Equal($"kernel '{_path}': the bzImage's kernel is packed with bzip2, which is not unpacked here; build it with gzip, xz, zstd or lz4, or give its vmlinux", error.Message);
    }

    private static byte[] WithDamagedSymbols()
    {
        byte[] image = [.. DemoGuest.Build().Image];
        var sections = image.AsSpan((int)BinaryPrimitives.ReadUInt64LittleEndian(image.AsSpan(40)));
        while (BinaryPrimitives.ReadUInt32LittleEndian(sections[4..]) != SymbolTableType)
        {
            sections = sections[HeaderSize..];
        }

        sections[56] = 23;
        return image;
    }

    private static byte[] BzImage(byte[] kernel)
    {
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest, leaveOpen: true))
        {
            gzip.Write(kernel);
        }

        // A boot sector and one of setup code, then the packed kernel.
        byte[] image = [.. new byte[1024], .. packed.ToArray()];
        image[0x1f1] = 1;
        "HdrS"u8.CopyTo(image.AsSpan(0x202));
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(0x206), 0x20f);
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(0x24c), (uint)packed.Length);
        return image;
    }

    private GuestImage Load(byte[] bytes)
    {
        File.WriteAllBytes(_path, bytes);
        return GuestImage.Load(new HypervisorSpec { Source = HypervisorSource.Kernel, KernelPath = _path });
    }
}
