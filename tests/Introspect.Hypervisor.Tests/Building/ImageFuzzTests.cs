using System.Globalization;
using System.Text;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Hypervisor.Tests.Building;

/// <summary>
/// Damaged images by the thousand: whatever the bytes are, the parser and the loaders say yes or tell an error, throw
/// nothing, and allocate no more than the image's size allows. INTROSPECT_FUZZ_INPUTS=N makes N inputs of each image.
/// </summary>
public sealed class ImageFuzzTests
{
    private const ulong GuestBytes = 4 << 20;

    // What tables of the smallest entries become: an allocation is a small multiple of the image, whatever the image says.
    private const int AllocationFactor = 32;
    // What is made for any guest: its firmware's tables, and the room in which symbols are sorted.
    private const int AllocationFloor = 256 << 10;

    private readonly FakeGuest _guest = new(GuestBytes);

    private static int Inputs(int inTheBuild) =>
        int.TryParse(Environment.GetEnvironmentVariable("INTROSPECT_FUZZ_INPUTS"), CultureInfo.InvariantCulture, out int inputs) ? inputs : inTheBuild;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Damaged_small_images_are_taken_or_refused(bool is64)
    {
        byte[] notes =
        [
            .. TestElf.Note("Xen", 18, BitConverter.GetBytes(TestElf.Entry)), .. TestElf.Note("Xen", 11, "yes\0"u8.ToArray()),
            .. TestElf.Note("Xen", 10, "!pae_pgdir_above_4gb|hvm_pirqs\0"u8.ToArray()), .. TestElf.Note("Xen", 17, [0xff, 0, 0, 0]),
            .. TestElf.Note("Xen", 13, new byte[32]), .. TestElf.Note("Xen", 19, new byte[12]),
        ];
        TestElf elf = new()
        {
            Is64 = is64,
            Notes = notes,
            SectionNotes = TestElf.Note("GNU", 3, [1, 2, 3, 4]),
            OtherSections = [(".data", new byte[16])],
            Symbols = [.. Enumerable.Range(0, 20).Select(i => ($"f{i}", TestElf.LoadAddress + 0x4000_0000 + (ulong)i, (byte)0x12, (ushort)1))],
            Segments = [(TestElf.LoadAddress, new byte[0x40], 0x1800), (TestElf.LoadAddress + 0x4000, new byte[0x80], 0x80)],
        };
        Fuzz(new ImageFuzzer("small image", elf.Build()), Inputs(40_000));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Damaged_legacy_images_are_taken_or_refused(bool is64)
    {
        TestElf elf = new()
        {
            Is64 = is64,
            Notes = null,
            OtherSections = [("__xen_guest", Encoding.ASCII.GetBytes("GUEST_OS=linux,VIRT_BASE=0xC0000000,HYPERCALL_PAGE=0x2,PAE=yes,BSD_SYMTAB,FEATURES=!dom0|hvm_pirqs\0"))],
            Symbols = [("f", TestElf.LoadAddress + 0x4000_0000, 0x12, 1)],
        };
        Fuzz(new ImageFuzzer("legacy image", elf.Build()), Inputs(20_000));
    }

    [Fact]
    public void The_damaged_demo_guest_is_taken_or_refused() => Fuzz(new ImageFuzzer("demo guest", DemoGuest.Build().Image), Inputs(10_000));

    [TheoryWithTools(CGuestBuilder.Compiler)]
    [InlineData(CGuestKind.LongMode)]
    [InlineData(CGuestKind.LongModeInElf32)]
    [InlineData(CGuestKind.ProtectedMode)]
    public void The_damaged_guest_in_c_is_taken_or_refused(CGuestKind kind) => Fuzz(new ImageFuzzer($"{kind}", CGuestBuilder.Build(kind, 2)), Inputs(4_000));

    [Fact]
    public void Damaged_programs_of_the_host_are_taken_or_refused()
    {
        const int Most = 200 << 10;
        const int Programs = 12;
        string folder = "/bin/";
        ImageFuzzer[] fuzzers =
        [
            .. (Directory.Exists(folder) ? Directory.GetFiles(folder) : []).Order(StringComparer.Ordinal)
                .Where(f => new FileInfo(f) is { LinkTarget: null, Length: > 0 and < Most })
                .Select(f => (Name: f, Bytes: File.ReadAllBytes(f)))
                .Where(f => ElfImage.TryParse(f.Bytes, out _, out _))
                .Take(Programs)
                .Select(f => new ImageFuzzer(f.Name, f.Bytes)),
        ];
        foreach (ImageFuzzer fuzzer in fuzzers)
        {
            Fuzz(fuzzer, Inputs(1_000));
        }
    }

    [Fact]
    public void A_damaged_bzimage_packed_with_gzip_is_taken_or_refused() => FuzzBzImage(TestBzImage.Gzip(TestBzImage.Kernel()));

    [TheoryWithTools("xz", "zstd", "lz4")]
    [InlineData("xz")]
    [InlineData("zstd")]
    [InlineData("lz4")]
    public void A_damaged_bzimage_is_taken_or_refused(string tool) => FuzzBzImage(TestBzImage.Pack(tool, TestBzImage.Kernel()));

    [LinuxKernelFact]
    public void The_damaged_kernel_of_a_distribution_is_taken_or_refused()
    {
        foreach ((string kernel, byte[] image) in LinuxKernels.Unpacked())
        {
            Fuzz(new ImageFuzzer(kernel, image), Inputs(2_000));
        }
    }

    private void FuzzBzImage(byte[] payload)
    {
        ImageFuzzer fuzzer = new("bzImage", new TestBzImage { Payload = payload }.Build());
        int inputs = Inputs(2_000);
        for (int number = 0; number < inputs; number++)
        {
            // A kernel may be many times larger than packed, up to a bound.
            TakeOrRefuse(fuzzer, number, (2 << 20) + ((long)(KernelPayload.MaximumRatio + AllocationFactor) * fuzzer.Size));
        }
    }

    private void Fuzz(ImageFuzzer fuzzer, int inputs)
    {
        for (int number = 0; number < inputs; number++)
        {
            TakeOrRefuse(fuzzer, number, AllocationFloor + ((long)AllocationFactor * fuzzer.Size));
        }
    }

    private void TakeOrRefuse(ImageFuzzer fuzzer, int number, long mostAllocated)
    {
        ReadOnlyMemory<byte> input = fuzzer.Make(number);
        long before = GC.GetAllocatedBytesForCurrentThread();
        try
        {
            TakeOrRefuse(input);
        }
        catch (Exception e)
        {
            Assert.Fail($"{fuzzer.Name}, input {number}: {e}");
        }

        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(allocated <= mostAllocated, $"{fuzzer.Name}, input {number}: {allocated} bytes allocated for an image of {input.Length}");
    }

    private void TakeOrRefuse(ReadOnlyMemory<byte> input)
    {
        if (!KernelImage.TryParse(input, out ElfImage? image, out ElfError? error))
        {
            OneLine(error);
            return;
        }

        if (image.SymbolWarning is { } warning)
        {
            OneLine(warning);
        }

        if (image.NameWarning is { } name)
        {
            OneLine(name);
        }

        if (SymbolTable.TryRead(image, out SymbolTable? symbols, out error))
        {
            symbols.TryGetAddress("f", out _);
            symbols.Describe(TestElf.LoadAddress);
            symbols.Describe(image.Entry);
        }
        else
        {
            OneLine(error);
        }

        if (!PvhLoader.TryLoad(image, new PvhBootOptions("x"), _guest, out _, out error))
        {
            OneLine(error);
        }

        // What another boot protocol would load.
        if (!ImageLayout.TryPlan(image, out ImageLayout? layout, out error))
        {
            OneLine(error);
        }
        else if (layout.End <= GuestBytes)
        {
            layout.Write(_guest);
        }
    }

    private static void OneLine(ElfError error)
    {
        Assert.DoesNotContain('\n', error.Message);
        Assert.Contains(';', error.Message);
    }
}
