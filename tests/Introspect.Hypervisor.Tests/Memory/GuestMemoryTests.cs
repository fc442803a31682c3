using System.Runtime.InteropServices;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Tests.Memory;

public sealed class GuestMemoryTests : IDisposable
{
    private readonly FakeGuestPages _guest = new();
    private readonly ManualTime _time = new();
    private readonly GuestMemory _memory;

    public GuestMemoryTests() => _memory = new GuestMemory(_guest, capacity: 4, TimeSpan.FromMilliseconds(10), _time);

    [Fact]
    public void Reads_and_writes_cross_pages()
    {
        _guest.Add(1, 2);
        byte[] sent = [1, 2, 3, 4, 5, 6];
        _memory.WritePhysical(new(0x1ffd), sent);
        var received = new byte[6];
        _memory.ReadPhysical(new(0x1ffd), received);
        Assert.Equal(sent, received);
        Assert.Equal(3, _guest.Page(1)[0xfff]);
        Assert.Equal(4, _guest.Page(2)[0]);
    }

    [Fact]
    public void A_page_that_is_not_there_is_EFAULT()
    {
        _guest.Add(1);
        Assert.Equal(Errno.EFAULT, Assert.Throws<HypervisorException>(() => _memory.ReadPhysical(new(0x1ffe), new byte[4])).Error);
        Assert.Equal(Errno.EFAULT, Assert.Throws<HypervisorException>(() => _memory.WritePhysical(new(0x5000), new byte[1])).Error);
    }

    [Fact]
    public void What_may_not_be_there_is_tried_without_an_exception()
    {
        _guest.Add(1, 2);
        _memory.WritePhysical(new(0x1ffe), [1, 2, 3]);
        var read = new byte[3];
        Assert.True(_memory.TryReadPhysical(new(0x1ffe), read));
        Assert.Equal([1, 2, 3], read);
        Assert.False(_memory.TryReadPhysical(new(0x2ffe), read));
        Assert.False(_memory.TryReadPhysical(new(ulong.MaxValue), read));
    }

    [Fact]
    public void A_page_that_is_read_again_soon_is_mapped_once()
    {
        _guest.Add(1);
        _memory.ReadPhysical(new(0x1000), new byte[8]);
        _memory.ReadPhysical(new(0x1800), new byte[8]);
        Assert.Equal(1, _guest.Maps);
    }

    [Fact]
    public void Mappings_are_bounded_and_all_let_go_of()
    {
        _guest.Add(0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
        for (ulong gfn = 0; gfn < 10; gfn++)
        {
            _memory.ReadPhysical(new(gfn << 12), new byte[1]);
            Assert.True(_memory.CachedPages <= 4);
        }

        Assert.Equal(4, _guest.Live);
        _memory.Dispose();
        Assert.Equal(0, _guest.Live);
    }

    [Fact]
    public void Another_page_at_the_frame_is_seen_when_the_mapping_is_old()
    {
        _guest.Add(1);
        _guest.Page(1)[0] = 1;
        var read = new byte[1];
        _memory.ReadPhysical(new(0x1000), read);
        _guest.Replace(1);
        _guest.Page(1)[0] = 2;
        _time.Advance(TimeSpan.FromMilliseconds(11));
        _memory.ReadPhysical(new(0x1000), read);
        Assert.Equal(2, read[0]);
        Assert.Equal(1, _guest.Live);
    }

    [Fact]
    public void Invalidate_maps_anew()
    {
        _guest.Add(1);
        _memory.ReadPhysical(new(0x1000), new byte[1]);
        _memory.Invalidate();
        Assert.Equal(0, _guest.Live);
        _memory.ReadPhysical(new(0x1000), new byte[1]);
        Assert.Equal(2, _guest.Maps);
    }

    [Fact]
    public void A_write_holds_its_mapping_no_longer_than_it_takes()
    {
        _guest.Add(1);
        _memory.WritePhysical(new(0x1000), new byte[1]);
        Assert.Equal(0, _guest.Live);
    }

    [Fact]
    public void A_virtual_range_is_walked_page_by_page()
    {
        _guest.Add(1, 2, 3, 4, 8, 9);
        Put(0x1000, 0x2001);
        Put(0x2000, 0x3001);
        Put(0x3000, 0x4001);
        Put(0x4000 + (5 * 8), 0x9001);
        Put(0x4000 + (6 * 8), 0x8001);
        var space = new AddressSpace(PagingMode.FourLevel, 0x1000);
        _memory.WriteVirtual(space, new(0x5ffe), [1, 2, 3, 4]);
        var read = new byte[4];
        _memory.ReadVirtual(space, new(0x5ffe), read);
        Assert.Equal([1, 2, 3, 4], read);
        Assert.Equal(2, _guest.Page(9)[0xfff]);
        Assert.Equal(3, _guest.Page(8)[0]);
        Assert.True(_memory.TryTranslate(space, new(0x6010), out var physical));
        Assert.Equal(0x8010UL, physical.Value);
        Assert.False(_memory.TryTranslate(space, new(0x7010), out _));
        Assert.Equal(Errno.EFAULT, Assert.Throws<HypervisorException>(() => _memory.ReadVirtual(space, new(0x6ffe), new byte[4])).Error);
    }

    public void Dispose() => _memory.Dispose();

    private void Put(ulong address, ulong value) => MemoryMarshal.Write(_guest.Page(address >> 12).AsSpan((int)(address & 0xfff)), in value);

    private sealed class ManualTime : TimeProvider
    {
        private long _now;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _now;

        public void Advance(TimeSpan by) => _now += by.Ticks;
    }

    private sealed class FakeGuestPages : IForeignMapper
    {
        private readonly Dictionary<ulong, byte[]> _pages = [];

        public int Maps { get; private set; }

        public int Live { get; private set; }

        public void Add(params ReadOnlySpan<ulong> gfns)
        {
            foreach (var gfn in gfns)
            {
                Replace(gfn);
            }
        }

        public void Replace(ulong gfn) => _pages[gfn] = GC.AllocateArray<byte>(4096, pinned: true);

        public byte[] Page(ulong gfn) => _pages[gfn];

        public ForeignMapping? TryMap(ulong gfn, bool writable)
        {
            if (!_pages.TryGetValue(gfn, out var page))
            {
                return null;
            }

            Maps++;
            Live++;
            return new Mapping(this, page);
        }

        private sealed unsafe class Mapping(FakeGuestPages owner, byte[] page) : ForeignMapping
        {
            public override nint Address => (nint)Marshal.UnsafeAddrOfPinnedArrayElement(page, 0);

            public override long Length => page.Length;

            protected override void Dispose(bool disposing) => owner.Live--;
        }
    }
}
