using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Tests.Memory;

public sealed class MachineMemoryTests : IDisposable
{
    private readonly MachineMemory _memory = new(1L << 30);

    [Fact]
    public void An_extent_is_memory_at_its_machine_address_and_in_its_file()
    {
        var extent = _memory.AllocateExtent(4, "test");
        Assert.True(extent.TryTakePage(out var page));
        _memory.RestOfPage(page)[7] = 42;
        using var mapped = extent.File.Map((long)(page - extent.Address), 4096, writable: false);
        Assert.Equal(42, mapped.Span[7]);
        Assert.NotEqual(0UL, page);
        Assert.Same(extent, _memory.FindExtent(page + 4095));
    }

    [Fact]
    public void A_page_is_free_and_zero_after_its_last_reference()
    {
        var extent = _memory.AllocateExtent(1, "test");
        Assert.True(extent.TryTakePage(out var page));
        _memory.RestOfPage(page)[0] = 1;
        Assert.True(extent.TryReference(page));
        Assert.False(extent.TryTakePage(out _));
        extent.Release(page);
        Assert.Equal(1, _memory.RestOfPage(page)[0]);
        extent.Release(page);
        Assert.False(extent.TryReference(page));
        Assert.Throws<InvalidOperationException>(() => extent.Release(page));
        Assert.True(extent.TryTakePage(out var again));
        Assert.Equal(page, again);
        Assert.Equal(0, _memory.RestOfPage(again)[0]);
    }

    [Fact]
    public void An_extent_outlives_its_owner_as_long_as_a_page_is_held()
    {
        var extent = _memory.AllocateExtent(2, "test");
        Assert.True(extent.TryTakePage(out var page));
        extent.ReleaseOwner();
        Assert.Equal(1, _memory.ExtentCount);
        Assert.False(extent.TryTakePage(out _));
        extent.Release(page);
        Assert.Equal(0, _memory.ExtentCount);
    }

    [Fact]
    public void Addresses_of_freed_extents_are_used_again_and_do_not_overlap()
    {
        var first = _memory.AllocateExtent(600, "a");
        var second = _memory.AllocateExtent(1, "b");
        Assert.True(second.Address >= first.Address + first.Bytes);
        var address = first.Address;
        first.ReleaseOwner();
        Assert.Equal(address, _memory.AllocateExtent(600, "c").Address);
    }

    [Fact]
    public void Without_room_it_is_ENOMEM()
    {
        var error = Assert.Throws<HypervisorException>(() => _memory.AllocateExtent(_memory.AllocateExtent(1, "a").PageCount + (1L << 18) - 1, "b"));
        Assert.Equal(Errno.ENOMEM, error.Error);
    }

    public void Dispose() => _memory.Dispose();
}

public sealed class PhysmapTests : IDisposable
{
    private readonly Physmap _physmap;
    private int _changes;

    public PhysmapTests() => _physmap = new Physmap(() => _changes++, entryCount: 1024);

    [Fact]
    public void New_pages_get_the_default_rights()
    {
        Assert.Equal(Errno.None, _physmap.SetDefaultAccess(MemoryAccess.Rx));
        _physmap.Map(5, 0x7000, P2mType.RamRw);
        Assert.Equal(Errno.None, _physmap.GetAccess(5, out var access));
        Assert.Equal(MemoryAccess.Rx, access);
        Assert.Equal(0x7000UL, _physmap[5].MachineAddress);
        Assert.Equal(5UL, _physmap.MaxMappedGfn);
    }

    [Fact]
    public void Default_as_an_access_means_the_domains_default()
    {
        _physmap.SetDefaultAccess(MemoryAccess.R);
        _physmap.Map(1, 0x1000, P2mType.RamRw);
        _physmap.SetAccess(1, 1, MemoryAccess.Rwx);
        _physmap.SetAccess(1, 1, MemoryAccess.Default);
        Assert.Equal(MemoryAccess.R, _physmap[1].Access);
    }

    [Fact]
    public void An_access_that_is_none_is_EINVAL()
    {
        _physmap.Map(1, 0x1000, P2mType.RamRw);
        Assert.Equal(Errno.EINVAL, _physmap.SetAccess(1, 1, (MemoryAccess)11));
        Assert.Equal(Errno.EINVAL, _physmap.SetDefaultAccess((MemoryAccess)11));
        Assert.Equal(MemoryAccess.Rwx, _physmap[1].Access);
    }

    [Fact]
    public void Only_rights_that_go_away_flush()
    {
        _physmap.Map(1, 0x1000, P2mType.RamRw);
        Assert.Equal(0, _changes);
        _physmap.SetAccess(1, 1, MemoryAccess.Rw);
        Assert.Equal(1, _changes);
        _physmap.SetAccess(1, 1, MemoryAccess.Rwx);
        Assert.Equal(1, _changes);
        _physmap.Map(1, 0x2000, P2mType.RamRw);
        Assert.Equal(2, _changes);
        _physmap.Unmap(1);
        Assert.Equal(3, _changes);
        _physmap.Unmap(1);
        Assert.Equal(3, _changes);
    }

    [Fact]
    public void A_frame_without_a_page_takes_no_rights_and_has_none_to_read()
    {
        Assert.Equal(Errno.None, _physmap.SetAccess(9, 1, MemoryAccess.R));
        Assert.Equal(Errno.ESRCH, _physmap.GetAccess(9, out _));
        Assert.False(_physmap[9].IsPresent);
        Assert.False(_physmap[5000].IsPresent);
    }

    [Theory]
    [InlineData(MemoryAccess.Rx2Rw, MemoryAccess.Rw)]
    [InlineData(MemoryAccess.N2Rwx, MemoryAccess.Rwx)]
    [InlineData(MemoryAccess.N, MemoryAccess.Rwx)]
    public void Lifting_gives_what_the_access_says(MemoryAccess before, MemoryAccess after)
    {
        _physmap.Map(1, 0x1000, P2mType.RamRw);
        _physmap.SetAccess(1, 1, before);
        _physmap.LiftAccess(1);
        Assert.Equal(after, _physmap[1].Access);
    }

    [Fact]
    public void Those_before_a_wrong_access_stay_set()
    {
        _physmap.Map(1, 0x1000, P2mType.RamRw);
        _physmap.Map(2, 0x2000, P2mType.RamRw);
        Assert.Equal(Errno.EINVAL, _physmap.SetAccess([1, 2], [(byte)MemoryAccess.R, 77]));
        Assert.Equal(MemoryAccess.R, _physmap[1].Access);
        Assert.Equal(MemoryAccess.Rwx, _physmap[2].Access);
    }

    public void Dispose() => _physmap.Dispose();
}
