using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Hypercalls.Guest;

namespace Introspect.Hypervisor.Tests.GuestHypercalls;

public sealed class MemoryOpTests
{
    private const ulong List = FakeGuest.Base + 0x1000;
    private readonly FakeGuest _guest = new();

    private long Call(uint command, ulong argument = FakeGuest.Base) => _guest.Call(HypercallNumber.MemoryOp, command, argument);

    private void PutReservation(ulong extents, uint order = 0, uint flags = 0, ushort domain = SpecialDomain.Self)
    {
        if (_guest.Is64)
        {
            _guest.Put(new MemoryReservation
            {
                ExtentStart = List,
                NrExtents = extents,
                ExtentOrder = order,
                MemFlags = flags,
                Domid = domain,
            });
        }
        else
        {
            _guest.Put(new CompatMemoryReservation
            {
                ExtentStart = (uint)List,
                NrExtents = (uint)extents,
                ExtentOrder = order,
                MemFlags = flags,
                Domid = domain,
            });
        }
    }

    private void PutLongs(ulong address, params ReadOnlySpan<ulong> values)
    {
        foreach (var value in values)
        {
            if (_guest.Is64)
            {
                _guest.Put(value, address);
                address += 8;
            }
            else
            {
                _guest.Put((uint)value, address);
                address += 4;
            }
        }
    }

    private void PutAdd(uint space, ulong index, ulong gfn, ushort size = 0, ushort domain = SpecialDomain.Self)
    {
        if (_guest.Is64)
        {
            _guest.Put(new AddToPhysmap { Domid = domain, Size = size, Space = space, Index = index, Gpfn = gfn });
        }
        else
        {
            _guest.Put(new CompatAddToPhysmap
            {
                Domid = domain,
                Size = size,
                Space = space,
                Index = (uint)index,
                Gpfn = (uint)gfn,
            });
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_guest_balloons_out_and_in_again(bool is64)
    {
        _guest.Is64 = is64;
        PutReservation(2);
        PutLongs(List, 2, 3);
        Assert.Equal(2, Call(MemoryOp.DecreaseReservation));
        Assert.Equal([1UL], _guest.Ram);
        Assert.Equal(2, Call(MemoryOp.PopulatePhysmap));
        Assert.Equal([1UL, 2, 3], _guest.Ram);
        Assert.Equal(0, Call(MemoryOp.PopulatePhysmap));
    }

    [Fact]
    public void Extents_are_done_up_to_the_first_that_fails()
    {
        PutReservation(3);
        PutLongs(List, 2, 99, 3);
        Assert.Equal(1, Call(MemoryOp.DecreaseReservation));
        Assert.Equal([1UL, 3], _guest.Ram);
    }

    [Fact]
    public void A_large_extent_is_populated_whole_or_not_at_all()
    {
        PutReservation(1, order: 3);
        PutLongs(List, 16);
        _guest.PageLimit = 8;
        Assert.Equal(0, Call(MemoryOp.PopulatePhysmap));
        Assert.Equal([1UL, 2, 3], _guest.Ram);
        _guest.PageLimit = 11;
        Assert.Equal(1, Call(MemoryOp.PopulatePhysmap));
        Assert.Equal(11UL, _guest.TotalPages);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Many_extents_are_done_in_several_goes(bool is64)
    {
        _guest.Is64 = is64;
        PutReservation(600);
        PutLongs(List, [.. Enumerable.Range(100, 600).Select(i => (ulong)i)]);
        Assert.Equal(600, Call(MemoryOp.PopulatePhysmap));
        Assert.Equal(2, _guest.Continued);
        Assert.Equal(603UL, _guest.TotalPages);
    }

    [Theory]
    [InlineData(0UL, 0u, 0u, SpecialDomain.Self)] // none
    [InlineData(1UL, 10u, 0u, SpecialDomain.Self)] // too large
    [InlineData(0x400_0000UL, 0u, 0u, SpecialDomain.Self)] // cannot be continued
    [InlineData(1UL, 0u, 0u, (ushort)9)] // not there
    [InlineData(1UL, 0u, 1u << 16, SpecialDomain.Self)] // on demand, for oneself
    public void What_cannot_be_done_is_told_as_nothing_done(ulong extents, uint order, uint flags, ushort domain)
    {
        PutLongs(List, 50);
        PutReservation(extents, order, flags, domain);
        Assert.Equal(0, Call(MemoryOp.PopulatePhysmap));
        Assert.Equal([1UL, 2, 3], _guest.Ram);
    }

    [Fact]
    public void More_memory_without_a_place_for_it_is_not_given()
    {
        PutReservation(1);
        for (var node = 0u; node < 0x10000; node += 0x100)
        {
            _guest.Put(node, FakeGuest.Base + 20);
            Assert.Equal(0, Call(MemoryOp.IncreaseReservation));
        }

        Assert.Equal(0, Call(MemoryOp.IncreaseReservation, 8));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_shared_page_and_grant_frames_are_mapped(bool is64)
    {
        _guest.Is64 = is64;
        PutAdd(PhysMapSpace.SharedInfo, 0, 0x103);
        Assert.Equal(0, Call(MemoryOp.AddToPhysmap));
        PutAdd(PhysMapSpace.GrantTable, 1, 0x104);
        Assert.Equal(0, Call(MemoryOp.AddToPhysmap));
        Assert.Equal(["shared_info 259", "grant 1 260"], _guest.Log);
    }

    // space | index | gfn | domain | expected
    [Theory]
    [InlineData(0u, 1UL, 9UL, SpecialDomain.Self, Errno.EINVAL)]
    [InlineData(1u, 4UL, 9UL, SpecialDomain.Self, Errno.EINVAL)]
    [InlineData(2u, 77UL, 9UL, SpecialDomain.Self, Errno.EINVAL)]
    [InlineData(2u, 2UL, 9UL, (ushort)5, Errno.None)]
    [InlineData(4u, 2UL, 9UL, SpecialDomain.Self, Errno.ENOSYS)]
    [InlineData(5u, 2UL, 9UL, SpecialDomain.Self, Errno.EACCES)]
    [InlineData(6u, 2UL, 9UL, SpecialDomain.Self, Errno.EINVAL)]
    [InlineData(0u, 0UL, ulong.MaxValue, SpecialDomain.Self, Errno.EINVAL)]
    [InlineData(0u, 0UL, 9UL, (ushort)8, Errno.ESRCH)]
    public void Physmap_additions_are_checked(uint space, ulong index, ulong gfn, ushort domain, Errno expected)
    {
        PutAdd(space, index, gfn, domain: domain);
        Assert.Equal(-(long)expected, Call(MemoryOp.AddToPhysmap));
    }

    [Fact]
    public void A_range_is_moved()
    {
        for (var gfn = 1000UL; gfn < 1300; gfn++)
        {
            _guest.Ram.Add(gfn);
        }

        PutAdd(PhysMapSpace.GmfnRange, 1000, 5000, size: 300);
        Assert.Equal(0, Call(MemoryOp.AddToPhysmap));
        Assert.Equal(1, _guest.Continued);
        Assert.Contains(5299UL, _guest.Ram);
        Assert.DoesNotContain(1299UL, _guest.Ram);
        Assert.Equal(-(long)Errno.EILSEQ, Call(MemoryOp.AddToPhysmap | (301 << 6)));
        PutAdd(PhysMapSpace.GmfnRange, ulong.MaxValue - 1, 5000, size: 300);
        Assert.Equal(-(long)Errno.EOVERFLOW, Call(MemoryOp.AddToPhysmap));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_batch_tells_the_error_of_each(bool is64)
    {
        _guest.Is64 = is64;
        const ulong Gfns = List + 0x100;
        const ulong Errors = List + 0x200;
        PutLongs(List, 2, 77);
        PutLongs(Gfns, 0x80, 0x81);
        if (is64)
        {
            _guest.Put(new AddToPhysmapBatch
            {
                Domid = SpecialDomain.Self,
                Space = 2,
                Size = 2,
                Indexes = List,
                Gpfns = Gfns,
                Errors = Errors,
            });
        }
        else
        {
            _guest.Put(new CompatAddToPhysmapBatch
            {
                Domid = SpecialDomain.Self,
                Space = 2,
                Size = 2,
                Indexes = (uint)List,
                Gpfns = (uint)Gfns,
                Errors = (uint)Errors,
            });
        }

        Assert.Equal(0, Call(MemoryOp.AddToPhysmapBatch));
        Assert.Equal((0, -(int)Errno.EINVAL), (_guest.Get<int>(Errors), _guest.Get<int>(Errors + 4)));
        Assert.Contains(0x80UL, _guest.Ram);
        _guest.Put((ushort)PhysMapSpace.GmfnRange, FakeGuest.Base + 2);
        Assert.Equal(-(long)Errno.EOPNOTSUPP, Call(MemoryOp.AddToPhysmapBatch));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_page_is_removed_once(bool is64)
    {
        _guest.Is64 = is64;
        _guest.Put(SpecialDomain.Self);
        PutLongs(FakeGuest.Base + (is64 ? 8u : 4u), 2);
        Assert.Equal(0, Call(MemoryOp.RemoveFromPhysmap));
        Assert.Equal(-(long)Errno.ENOENT, Call(MemoryOp.RemoveFromPhysmap));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_memory_map_is_told_as_far_as_it_fits(bool is64)
    {
        _guest.Is64 = is64;
        _guest.Put(8u);
        PutLongs(FakeGuest.Base + (is64 ? 8u : 4u), List);
        Assert.Equal(-(long)Errno.ENOSYS, Call(MemoryOp.MemoryMap));
        _guest.Map =
        [
            new E820Entry { Addr = 0, Size = 0xA0000, Type = MemmapType.Ram },
            new E820Entry { Addr = 0x100000, Size = 0x700000, Type = MemmapType.Ram },
        ];
        Assert.Equal(0, Call(MemoryOp.MemoryMap));
        Assert.Equal(2u, _guest.Get<uint>());
        Assert.Equal(0x100000UL, _guest.Get<ulong>(List + 20));
        Assert.Equal(0u, _guest.Get<uint>(List + 40));
        _guest.Put(1u);
        Assert.Equal(0, Call(MemoryOp.MemoryMap));
        Assert.Equal(1u, _guest.Get<uint>());
    }

    [Fact]
    public void Statistics_are_of_the_domain()
    {
        _guest.Put(SpecialDomain.Self);
        Assert.Equal(3, Call(MemoryOp.CurrentReservation));
        Assert.Equal(1000, Call(MemoryOp.MaximumReservation));
        Assert.Equal(3, Call(MemoryOp.MaximumGpfn));
        Assert.Equal(0x4000, Call(MemoryOp.MaximumRamPage, 0));
        _guest.Put((ushort)9);
        Assert.Equal(-(long)Errno.ESRCH, Call(MemoryOp.MaximumGpfn));
        Assert.Equal(-(long)Errno.EINVAL, Call(MemoryOp.MaximumGpfn | (1 << 6)));
        Assert.Equal(-(long)Errno.EFAULT, Call(MemoryOp.MaximumGpfn, 8));
    }

    [Theory]
    [InlineData(MemoryOp.MachineMemoryMap, Errno.ENOSYS)]
    [InlineData(12u, Errno.ENOSYS)]
    [InlineData(MemoryOp.AccessOp, Errno.ESRCH)]
    [InlineData(MemoryOp.SharingOp, Errno.EPERM)]
    [InlineData(MemoryOp.PagingOp, Errno.EPERM)]
    [InlineData(MemoryOp.ClaimPages, Errno.EPERM)]
    [InlineData(MemoryOp.Exchange, Errno.EOPNOTSUPP)]
    [InlineData(63u, Errno.ENOSYS)]
    public void What_is_not_a_guests_is_refused(uint command, Errno expected) => Assert.Equal(-(long)expected, Call(command));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_grant_table_is_set_up_in_version_1(bool is64)
    {
        _guest.Is64 = is64;
        long Grant(uint command, uint count = 1) => _guest.Call(HypercallNumber.GrantTableOp, command, FakeGuest.Base, count);
        _guest.Put(1u);
        Assert.Equal(0, Grant(8));
        _guest.Put(2u);
        Assert.Equal(-(long)Errno.ENOSYS, Grant(8));
        Assert.Equal(1u, _guest.Get<uint>());
        _guest.Put(3u);
        Assert.Equal(-(long)Errno.EINVAL, Grant(8));

        _guest.Put((uint)SpecialDomain.Self);
        Assert.Equal(0, Grant(10));
        Assert.Equal(1u, _guest.Get<uint>(FakeGuest.Base + 4));

        // setup_table: dom, nr_frames, status, list
        _guest.Put(2u, FakeGuest.Base + 4);
        PutLongs(FakeGuest.Base + (is64 ? 16u : 12u), List);
        Assert.Equal(0, Grant(2));
        Assert.Equal(0, _guest.Get<short>(FakeGuest.Base + 8));
        Assert.Equal(0x99u, _guest.Get<uint>(List));
        Assert.Equal(uint.MaxValue, _guest.Get<uint>(List + (is64 ? 8u : 4u)));
        _guest.Put(5u, FakeGuest.Base + 4);
        Assert.Equal(0, Grant(2));
        Assert.Equal(-1, _guest.Get<short>(FakeGuest.Base + 8));

        Assert.Equal(0, Grant(6));
        var size = _guest.Get<GrantQuerySize>();
        Assert.Equal((2u, 4u, 0), (size.Frames, size.MaximumFrames, size.Status));
        Assert.Equal(-(long)Errno.EINVAL, Grant(6, 2));
        Assert.Equal(-(long)Errno.ENOSYS, Grant(12));
    }
}
