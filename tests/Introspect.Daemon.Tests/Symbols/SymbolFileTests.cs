using Introspect.Daemon.Cli;
using Introspect.Daemon.Symbols;
using Introspect.Daemon.Tests.Fakes;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Daemon.Tests.Symbols;

public sealed class SymbolFileTests : IDisposable
{
    private const string Map = """
        0000000000000000 D __per_cpu_start
        0000000000001000 D cpu_debug_store
        ffffffff81000000 T startup_64
        ffffffff81000000 t _stext_alias
        ffffffff81000030 T secondary_startup_64
        ffffffff81000100 t local_label
        ffffffff81000200 t local_label
        ffffffff82000000 D init_task
        ffffffff82001000 A absolute_symbol
        ffffffff83000000 B _end
        ffffffffc0000000 t module_routine	[some_module]

        """;

    private readonly string _path = Path.GetTempFileName();

    public void Dispose() => File.Delete(_path);

    [Theory]
    [InlineData(0xffffffff81000000ul, "startup_64")]
    [InlineData(0xffffffff81000012ul, "startup_64+0x12")]
    [InlineData(0xffffffff81000030ul, "secondary_startup_64")]
    [InlineData(0xffffffff810001fful, "local_label+0xff")]
    [InlineData(0xffffffff82001004ul, "init_task+0x1004")]
    [InlineData(0xffffffffc0000010ul, "module_routine+0x10")]
    [InlineData(0xffffffff83000010ul, null)]
    [InlineData(0xffffffff80fffffful, null)]
    [InlineData(0xffffffffd0000000ul, null)]
    [InlineData(0x1004ul, null)]
    [InlineData(0ul, null)]
    public void a_system_map_names_addresses(ulong address, string? name) => Assert.Equal(name, Read(Map).Describe(address));

    [Fact]
    public void and_finds_names()
    {
        var symbols = Read(Map);
        Assert.Equal([0xffffffff82000000], symbols.AddressesOf("init_task"));
        Assert.Empty(symbols.AddressesOf("cpu_debug_store"));
        Assert.Equal([0xffffffff81000100, 0xffffffff81000200], symbols.AddressesOf("local_label"));
        Assert.Contains("local_label", symbols.Names);
    }

    [Theory]
    [InlineData("startup_64", "0xffffffff81000000..0xffffffff8100002f")]
    [InlineData("_stext_alias", "0xffffffff81000000..0xffffffff8100002f")]
    [InlineData("local_label", "0xffffffff81000100..0xffffffff810001ff 0xffffffff81000200..0xffffffff81ffffff")]
    [InlineData("module_routine", "0xffffffffc0000000..0xffffffffc0ffffff")]
    [InlineData("nothing", "")]
    public void a_symbol_reaches_to_the_next_one_or_as_far_as_any(string name, string ranges) =>
        Assert.Equal(ranges, string.Join(' ', Read(Map).RangesOf(name)));

    [Fact]
    public void the_symbols_of_an_image_reach_as_far()
    {
        File.WriteAllBytes(_path, DemoGuest.Build().Image);
        var symbols = SymbolFile.Choose(new(_path, 0x1000), null)!;
        foreach (var name in symbols.Names.Distinct())
        {
            foreach (var range in symbols.RangesOf(name))
            {
                if (!symbols.TryFind(range.First, out _, out var none))
                {
                    // Behind the image, of which nothing is said.
                    Assert.Equal(range.First, range.Last);
                    continue;
                }

                Assert.True(none == 0, name);
                Assert.True(symbols.TryFind(range.Last, out _, out var offset) && offset == range.Last - range.First, name);
                Assert.True(!symbols.TryFind(range.Last + 1, out _, out offset) || offset == 0, name);
            }
        }
    }

    [Fact]
    public void a_name_that_several_files_keep_to_themselves_is_asked_back()
    {
        Assert.True(Place.TryParse("local_label+4", out var place, out _));
        var error = Assert.Throws<UserError>(() => place.Resolve(Read(Map), "--int3"));
        Assert.Equal("--int3 'local_label+4': there are 2 symbols 'local_label', at 0xffffffff81000100, 0xffffffff81000200; write the number of the one that is meant", error.Message);
    }

    [Fact]
    public void symbols_move_with_the_kernel()
    {
        var symbols = SymbolFile.Choose(new(Write(Map), 0x1a000000), null)!;
        Assert.Equal("startup_64+0x2", symbols.Describe(0xffffffff9b000002));
        Assert.Null(symbols.Describe(0xffffffff81000002));
        Assert.Equal([0xffffffff9b000000], symbols.AddressesOf("startup_64"));

        var down = SymbolFile.Choose(new(Write(Map), unchecked(0 - 0x1000000ul)), null)!;
        Assert.Equal("startup_64", down.Describe(0xffffffff80000000));
    }

    [Fact]
    public void an_image_is_read_by_its_own_table()
    {
        var demo = DemoGuest.Build();
        File.WriteAllBytes(_path, demo.Image);
        var symbols = SymbolFile.Choose(new(_path, 0), new OneSymbol("other", 0))!;
        Assert.Equal([demo.Symbols["work"]], symbols.AddressesOf("work"));
        Assert.Equal("work", symbols.Describe(demo.Symbols["work"]));
    }

    [Fact]
    public void without_a_file_the_booted_images_symbols_are_taken_and_moved()
    {
        var image = new OneSymbol("entry", 0x1000);
        Assert.Same(image, SymbolFile.Choose(null, image));
        Assert.Null(SymbolFile.Choose(null, null));
        Assert.Equal("entry", SymbolFile.Choose(new(null, 0x500), image)!.Describe(0x1500));
        var error = Assert.Throws<UserError>(() => SymbolFile.Choose(new(null, 0x500), null));
        Assert.Contains("give --symbols FILE", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("ffffffff81000000 T startup_64\nnot a map at all\n", "line 2 is no symbol ('not a map at all')")]
    [InlineData("", "it is empty")]
    [InlineData("ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n", "give the System.map of the package's -dbg sibling")]
    [InlineData("0000000000000000 T startup_64\n0000000000000000 T other\n", "as root")]
    [InlineData("\x7f\x45LF truncated", "the image ends")]
    public void a_file_without_symbols_is_refused_by_name(string content, string says)
    {
        var error = Assert.Throws<UserError>(() => Read(content));
        Assert.Equal(1, error.ExitCode);
        Assert.StartsWith($"symbols '{_path}'", error.Message, StringComparison.Ordinal);
        Assert.Contains(says, error.Message, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void a_file_that_is_not_there_is_refused_by_name()
    {
        var error = Assert.Throws<UserError>(() => SymbolFile.Choose(new("/nowhere/System.map", 0), null));
        Assert.Contains("symbols '/nowhere/System.map': there is no such file", error.Message, StringComparison.Ordinal);
    }

    private ISymbolSource Read(string content) => SymbolFile.Choose(new(Write(content), 0), null)!;

    private string Write(string content)
    {
        File.WriteAllText(_path, content);
        return _path;
    }
}
