using Introspect.Daemon.Cli;
using Introspect.Daemon.Tests.Fakes;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tests.Tracing;

/// <summary>Virtual places of a user's choice, on a domain whose memory is mapped where it is (4 MiB).</summary>
public sealed class PlaceResolverTests : IDisposable
{
    private readonly FakeDomain _domain = new(new(1), "guest", CpuVendor.Vmx);
    private readonly OneSymbol _symbols = new("main", 0x2ff0);

    public void Dispose() => _domain.Dispose();

    [Fact]
    public void symbols_become_pages_and_addresses()
    {
        var (selection, from) = Resolve(
            new PlaceChoice { Breakpoints = [Parse("main+0x10"), Parse("0x3000"), Parse("0x1234")], StepFrom = Parse("main"), Ranges = [Range("main+0x20", MemAccessFlags.Execute), Range("0x5000-0x5fff", MemAccessFlags.Write)] });
        Assert.Equal([new GuestPhysical(0x3000), new GuestPhysical(0x1234), new GuestPhysical(0x2ff0)], selection.Breakpoints);
        Assert.Equal(new GuestPhysical(0x2ff0), from);
        Assert.Equal([new MemoryWatch(new(2), 2, MemAccessFlags.Execute), new MemoryWatch(new(5), 1, MemAccessFlags.Write)], selection.Memory);
    }

    [Fact]
    public void a_guest_without_page_tables_is_known_by_where_its_image_was_loaded()
    {
        var resolver = new PlaceResolver(_domain, _symbols, [], address => address >= 0xffff_ffff_8000_0000 ? new GuestPhysical(address - 0xffff_ffff_8000_0000) : null);
        var (selection, _) = resolver.Resolve(Choice(new PlaceChoice { Breakpoints = [Parse("0xffffffff80001000"), Parse("0x2000")] }));
        Assert.Equal([new GuestPhysical(0x1000), new GuestPhysical(0x2000)], selection.Breakpoints);
    }

    [Theory]
    [InlineData("0x400000", "--int3 '0x400000': address 0x400000 is not mapped in the guest, which has not switched paging on")]
    [InlineData("mian", "--int3 'mian': there is no symbol 'mian'; did you mean 'main'?")]
    [InlineData("ffff8000", "--int3 'ffff8000': there is no symbol 'ffff8000'; write 0xffff8000 for the number")]
    public void what_is_not_there_is_named(string place, string says)
    {
        var error = Assert.Throws<UserError>(() => Resolve(new PlaceChoice { Breakpoints = [Parse(place)] }));
        Assert.Equal(1, error.ExitCode);
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void a_process_that_does_not_map_it_is_named()
    {
        var resolver = new PlaceResolver(_domain, _symbols, [0x7000, 0x9000], null);
        var error = Assert.Throws<UserError>(() => resolver.Resolve(Choice(new PlaceChoice { Ranges = [Range("0x400000+1", MemAccessFlags.Read)] })));
        Assert.Contains("--read '0x400000+1': address 0x400000 is not mapped in the address spaces of CR3 0x7000, 0x9000", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("main-0x10", "ends before it begins")]
    [InlineData("main+0x1000000000000", "too large")]
    public void a_range_that_is_none_is_named(string range, string says)
    {
        var error = Assert.Throws<UserError>(() => Resolve(new PlaceChoice { Ranges = [Range(range, MemAccessFlags.Read)] }));
        Assert.Contains($"the range '{range}'", error.Message, StringComparison.Ordinal);
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void without_symbols_the_remedy_is_a_file_with_some()
    {
        var error = Assert.Throws<UserError>(() => new PlaceResolver(_domain, null, [], null).Resolve(Choice(new PlaceChoice { StepFrom = Parse("main") })));
        Assert.Contains("--from 'main'", error.Message, StringComparison.Ordinal);
        Assert.Contains("give --symbols FILE", error.Message, StringComparison.Ordinal);
    }

    private (EventSelection Selection, GuestPhysical? From) Resolve(PlaceChoice places) => new PlaceResolver(_domain, _symbols, [], null).Resolve(Choice(places));

    private static EventChoice Choice(PlaceChoice places) => new(new(), 0, false) { Places = places };

    private static Place Parse(string text)
    {
        Assert.True(Place.TryParse(text, out var place, out var mistake), mistake);
        return place;
    }

    private static PlaceRange Range(string text, MemAccessFlags watched)
    {
        Assert.True(PlaceRange.TryParse("--read", text, watched, out var range, out var mistake), mistake);
        return range;
    }
}
