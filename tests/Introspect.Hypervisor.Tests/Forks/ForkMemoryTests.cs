using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Tests.Domains;

namespace Introspect.Hypervisor.Tests.Forks;

/// <summary>Whose page is whose: sharing, copies, chains, resets, and what is left when somebody goes.</summary>
public sealed class ForkMemoryTests : IDisposable
{
    private const ulong Frame = 5;

    private readonly TestMachine _lab = new();
    private readonly Domain _parent;

    public ForkMemoryTests()
    {
        _parent = _lab.Create("parent");
        Write(_parent, Frame, 10);
    }

    [Fact]
    public void What_is_read_is_shared_and_what_is_written_is_copied()
    {
        var child = Fork(_parent);
        var owned = child.Ram.TotalPages;
        Assert.False(child.Physmap[Frame].IsPresent);
        var shared = child.Pages.Find(Frame, write: false);
        Assert.Equal((P2mType.RamShared, MemoryAccess.Rwx, P2mEntry.Readable | P2mEntry.Executable), (shared.Type, shared.Access, shared.Raw & P2mEntry.RightsMask));
        Assert.Equal(P2mType.RamShared, _parent.Physmap[Frame].Type);
        Assert.Equal(_parent.Physmap[Frame].MachineAddress, shared.MachineAddress);
        Assert.Equal(owned, child.Ram.TotalPages);

        Write(child, Frame, 20);
        Assert.Equal((20, 10), (Peek(child, Frame), Peek(_parent, Frame)));
        Assert.Equal(P2mType.RamRw, child.Physmap[Frame].Type);
        Assert.Equal(owned + 1, child.Ram.TotalPages);
        Assert.Equal(P2mType.RamShared, _parent.Physmap[Frame].Type);
    }

    [Fact]
    public void A_write_copies_what_was_never_read()
    {
        var child = Fork(_parent);
        var entry = child.Pages.Find(Frame, write: true);
        Assert.Equal(P2mType.RamRw, entry.Type);
        Assert.Equal(10, Peek(child, Frame));
        Assert.Equal(P2mType.RamRw, _parent.Physmap[Frame].Type);
    }

    [Fact]
    public void Siblings_and_the_parent_do_not_see_each_others_writes()
    {
        var one = Fork(_parent);
        var two = Fork(_parent);
        foreach (var child in new[] { one, two })
        {
            child.Pages.Find(Frame, write: false);
        }

        Write(_parent, Frame, 11);
        Write(one, Frame, 21);
        Assert.Equal((11, 21, 10), (Peek(_parent, Frame), Peek(one, Frame), Peek(two, Frame)));
        Assert.Equal(2, _parent.PauseCount - _parent.ControllerPauseCount);
        Write(two, Frame, 31);
        Assert.Equal((11, 21, 31), (Peek(_parent, Frame), Peek(one, Frame), Peek(two, Frame)));
    }

    [Fact]
    public void Grandchildren_find_the_nearest_ancestors_page()
    {
        const ulong Untouched = 7;
        Write(_parent, Untouched, 70);
        var child = Fork(_parent);
        Write(child, Frame, 20);
        var grandchild = Fork(child);
        Assert.Equal((20, 70), (Peek(grandchild, Frame), Peek(grandchild, Untouched)));

        // Passed over, not brought: the one in between never asked for it.
        Assert.False(child.Physmap[Untouched].IsPresent);
        Assert.Equal(child.Physmap[Frame].MachineAddress, grandchild.Physmap[Frame].MachineAddress);
        Write(grandchild, Frame, 30);
        Write(grandchild, Untouched, 71);
        Assert.Equal((10, 20, 30), (Peek(_parent, Frame), Peek(child, Frame), Peek(grandchild, Frame)));
        Assert.Equal((70, 70, 71), (Peek(_parent, Untouched), Peek(child, Untouched), Peek(grandchild, Untouched)));
        Reset(grandchild);
        Assert.Equal((20, 70), (Peek(grandchild, Frame), Peek(grandchild, Untouched)));
    }

    [Fact]
    public void A_page_that_a_tool_holds_is_copied_and_not_shared()
    {
        using (Map(_parent, Frame, writable: true))
        {
            var child = Fork(_parent);
            Assert.Equal(P2mType.RamRw, child.Pages.Find(Frame, write: false).Type);
            Assert.Equal(P2mType.RamRw, _parent.Physmap[Frame].Type);
        }

        Assert.Equal(P2mType.RamShared, Fork(_parent).Pages.Find(Frame, write: false).Type);
    }

    [Fact]
    public void A_tools_mapping_is_never_of_a_shared_page()
    {
        var child = Fork(_parent);
        child.Pages.Find(Frame, write: false);
        using var ofChild = Map(child, Frame, writable: false);
        using var ofParent = Map(_parent, Frame, writable: false);
        Assert.Equal(P2mType.RamRw, child.Physmap[Frame].Type);
        Assert.Equal(P2mType.RamRw, _parent.Physmap[Frame].Type);

        // So that it shows what is written later.
        Write(child, Frame, 20);
        Assert.Equal((20, 10), (ofChild.AsSpan()[0], ofParent.AsSpan()[0]));
    }

    [Fact]
    public void What_no_ancestor_has_is_not_there()
    {
        var child = Fork(_parent);
        Assert.False(child.Pages.Find(0xfee00, write: true).IsPresent);
        Assert.False(child.Pages.Find(ulong.MaxValue >> 12, write: false).IsPresent);
        Assert.Equal(-(int)Errno.EFAULT, _lab.Toolstack.MapForeign(child.Id.Value, [0xfee00], writable: false, out _));
    }

    [Fact]
    public void Pages_come_with_the_default_access_and_keep_their_own()
    {
        var child = Fork(_parent);
        Assert.Equal(Errno.None, child.Physmap.SetDefaultAccess(MemoryAccess.Rx));
        Assert.Equal(MemoryAccess.Rx, child.Pages.Find(Frame, write: false).Access);
        Assert.Equal(MemoryAccess.Rwx, _parent.Physmap[Frame].Access);

        // A right that is set brings the page, and outlives its copy.
        child.Pages.Populate(Frame + 1, 1);
        Assert.Equal(Errno.None, child.Physmap.SetAccess(Frame + 1, 1, MemoryAccess.R));
        Assert.Equal((P2mType.RamShared, MemoryAccess.R), (child.Physmap[Frame + 1].Type, child.Physmap[Frame + 1].Access));
        var copy = child.Pages.Find(Frame + 1, write: true);
        Assert.Equal((P2mType.RamRw, MemoryAccess.R), (copy.Type, copy.Access));
    }

    [Fact]
    public void A_memory_reset_drops_what_is_the_forks_own_and_keeps_what_is_shared()
    {
        var child = Fork(_parent);
        var owned = child.Ram.TotalPages;
        child.Pages.Find(Frame + 1, write: false);
        Write(child, Frame, 20);
        Assert.True(child.Ram.TryPopulate(child.Physmap, 0x800));
        child.Physmap.SetAccess(Frame, 1, MemoryAccess.R);
        Reset(child);
        Assert.False(child.Physmap[Frame].IsPresent);
        Assert.False(child.Physmap[0x800].IsPresent);
        Assert.Equal(P2mType.RamShared, child.Physmap[Frame + 1].Type);
        Assert.Equal(10, Peek(child, Frame));
        Assert.Equal(MemoryAccess.Rwx, child.Physmap[Frame].Access);
        Assert.True(child.Ram.TotalPages <= owned);
    }

    [Fact]
    public void A_reset_drops_what_a_tool_maps_and_the_tool_keeps_the_old_page()
    {
        var child = Fork(_parent);
        using var mapping = Map(child, Frame, writable: true);
        mapping.AsSpan()[0] = 20;
        Reset(child);
        mapping.AsSpan()[0] = 21;
        Assert.Equal(10, Peek(child, Frame));
    }

    [Fact]
    public void A_pinned_page_stays_at_a_reset_and_is_not_lent()
    {
        var child = Fork(_parent);
        Assert.True(child.Pages.TryPin(Frame, out var page));
        Reset(child);
        Assert.Equal(page, child.Physmap[Frame].MachineAddress);
        var grandchild = Fork(child);
        Assert.Equal(P2mType.RamRw, grandchild.Pages.Find(Frame, write: false).Type);
        child.Pages.Unpin(page);
        Reset(child);
        Assert.False(child.Physmap[Frame].IsPresent);
    }

    [Fact]
    public void Many_resets_leak_nothing()
    {
        var child = Fork(_parent);
        Reset(child);
        var pages = child.Ram.TotalPages;
        var extents = _lab.Machine.Memory.ExtentCount;
        long inUse = 0;
        for (var round = 0; round < 200; round++)
        {
            for (ulong gfn = 0; gfn < 40; gfn++)
            {
                Write(child, gfn, (byte)round);
                child.Pages.Find(gfn + 100, write: false);
            }

            Reset(child);
            Assert.Equal(pages, child.Ram.TotalPages);
            var now = child.Ram.Extents.Sum(static extent => extent.PagesInUse);
            Assert.True(round == 0 || now == inUse, $"{now} pages in use after {inUse}");
            inUse = now;
        }

        Assert.Equal(extents, _lab.Machine.Memory.ExtentCount);
        Assert.All(_parent.Ram.Extents, static extent => Assert.Equal(0, extent.StalePages));
        Assert.InRange(child.Ram.Extents.Sum(static extent => extent.StalePages), 40, 60);
    }

    [Fact]
    public void A_page_that_is_used_again_shows_nothing_of_its_former_contents()
    {
        var child = Fork(_parent);
        for (ulong gfn = 0; gfn < 40; gfn++)
        {
            Write(child, gfn, 0xee);
        }

        Reset(child);
        for (ulong gfn = 0x800; gfn < 0x800 + 500; gfn++)
        {
            Assert.True(child.Ram.TryPopulate(child.Physmap, gfn));
            Assert.Equal(0, Peek(child, gfn));
        }
    }

    [Fact]
    public void The_parent_goes_on_with_its_last_fork_and_has_its_pages_for_itself()
    {
        var one = Fork(_parent);
        var two = Fork(_parent);
        Assert.Equal(Errno.None, _parent.ControllerUnpause());
        var before = _parent.Physmap[Frame].MachineAddress;
        one.Pages.Find(Frame, write: false);
        two.Pages.Find(Frame, write: false);
        _lab.Machine.DestroyDomain(one);
        Assert.Equal(1, _parent.PauseCount);
        _lab.Machine.DestroyDomain(two);
        Assert.Equal((0, 0), (_parent.PauseCount, _parent.ForkCount));
        TestMachine.Eventually(() => _parent.Vcpus[0].IsRunning);
        Assert.Equal(P2mType.RamShared, _parent.Physmap[Frame].Type);
        var own = _parent.Pages.Find(Frame, write: true);
        Assert.Equal((P2mType.RamRw, before), (own.Type, own.MachineAddress));
        Assert.Equal(1, _parent.Ram.ExtentOf(before)!.References(before));
    }

    [Fact]
    public void A_domain_that_comes_and_goes_with_its_forks_leaves_the_machine_as_it_was()
    {
        var extents = _lab.Machine.Memory.ExtentCount;
        var parent = _lab.Create("second");
        var child = Fork(parent);
        var grandchild = Fork(child);
        Write(child, Frame, 1);
        Write(grandchild, Frame, 2);
        Peek(grandchild, 9);
        _lab.Machine.DestroyDomain(grandchild);
        _lab.Machine.DestroyDomain(child);
        _lab.Machine.DestroyDomain(parent);
        Assert.Equal(extents, _lab.Machine.Memory.ExtentCount);
        Assert.Equal([_parent], _lab.Machine.Domains);
    }

    [Fact]
    public void Forks_of_a_destroyed_parent_keep_what_they_have_and_find_no_more()
    {
        var parent = _lab.Create("mortal");
        Write(parent, Frame, 10);
        Write(parent, Frame + 1, 11);
        var child = Fork(parent);
        child.Pages.Find(Frame, write: false);
        _lab.Machine.DestroyDomain(parent);

        // It is listed as dying until its last fork has gone, and is there for nothing else.
        Assert.Null(_lab.Machine.Find(parent.Id.Value));
        using var hypervisor = new CoreHypervisor(_lab.Toolstack);
        Assert.Equal(DomainState.Dying, hypervisor.ListDomains().Single(domain => domain.Id == parent.Id).State);
        Assert.Equal(10, Peek(child, Frame));
        Write(child, Frame, 20);
        Assert.Equal(20, Peek(child, Frame));
        Assert.False(child.Pages.Find(Frame + 1, write: false).IsPresent);
        Assert.Equal(Errno.EINVAL, Forking.Reset(child, state: true, memory: true));
        _lab.Machine.DestroyDomain(child);
        Assert.DoesNotContain(parent, _lab.Machine.Domains);
    }

    [Fact]
    public void A_page_lent_again_after_it_was_written_is_decoded_anew()
    {
        var child = Fork(_parent);
        var page = child.Pages.Find(Frame, write: false).MachineAddress / MachineMemory.PageSize;
        Assert.Equal(Errno.None, child.ControllerUnpause());
        var runner = TestMachine.Runner(child);
        Write(child, Frame, 20);

        // The parent has the page alone, writes to it in place, and lends it again.
        Write(_parent, Frame, 11);
        Assert.Equal(page, _parent.Physmap[Frame].MachineAddress / MachineMemory.PageSize);
        Reset(child);
        Assert.DoesNotContain(page, runner.DroppedCode);
        Assert.Equal(page, child.Pages.Find(Frame, write: false).MachineAddress / MachineMemory.PageSize);
        TestMachine.Eventually(() => runner.DroppedCode.Contains(page));
        Assert.Equal(11, Peek(child, Frame));
    }

    [Fact]
    public void A_fork_has_no_more_pages_than_its_parent_may_have()
    {
        var child = Fork(_parent);
        child.Ram.MaxPages = child.Ram.TotalPages + 1;
        Write(child, Frame, 1);
        Assert.Equal(Errno.ENOMEM, Assert.Throws<HypervisorException>(() => child.Pages.Find(Frame + 1, write: true)).Error);
        Assert.Equal(-(int)Errno.ENOMEM, _lab.Toolstack.MapForeign(child.Id.Value, [Frame + 1], writable: true, out _));
        Assert.Equal(P2mType.RamShared, child.Pages.Find(Frame + 1, write: false).Type);
    }

    [Fact]
    public void A_parent_at_its_limit_still_gets_its_own_page_back()
    {
        var child = Fork(_parent);
        child.Pages.Find(Frame, write: false);
        _parent.Ram.MaxPages = _parent.Ram.TotalPages;
        var total = _parent.Ram.TotalPages;
        Write(_parent, Frame, 12);
        Assert.Equal((12, 10, total), (Peek(_parent, Frame), Peek(child, Frame), _parent.Ram.TotalPages));
    }

    [Fact]
    public void Vcpus_that_fault_on_one_page_at_the_same_time_get_one_copy()
    {
        using var stop = new CancellationTokenSource();
        for (var round = 0; round < 50; round++)
        {
            var child = Fork(_parent);
            var seen = new ulong[4];
            Parallel.For(0, seen.Length, i => seen[i] = child.Pages.Find(Frame, write: i % 2 == 0).MachineAddress);
            Assert.Equal(child.Physmap[Frame].MachineAddress, seen[0]);
            Assert.Equal(seen[0], seen[2]);
            Assert.Equal(P2mType.RamRw, child.Physmap[Frame].Type);
            _lab.Machine.DestroyDomain(child);
            var page = _parent.Physmap[Frame].MachineAddress;
            Assert.Equal(1, _parent.Ram.ExtentOf(page)!.References(page));
        }
    }

    public void Dispose() => _lab.Dispose();

    private Domain Fork(Domain parent)
    {
        var child = ForkOperationTests.CreateChild(_lab);
        Assert.Equal(Errno.None, Forking.Fork(child, parent));
        return child;
    }

    private static void Reset(Domain child) => Assert.Equal(Errno.None, Forking.Reset(child, state: false, memory: true));

    private ForeignMapping Map(Domain domain, ulong gfn, bool writable)
    {
        Assert.Equal(0, _lab.Toolstack.MapForeign(domain.Id.Value, [gfn], writable, out var mapping));
        return mapping!;
    }

    // As the hypervisor does it on a vCPU's behalf.
    private void Write(Domain domain, ulong gfn, byte value) =>
        _lab.Machine.Memory.RestOfPage(domain.Pages.Find(gfn, write: true).MachineAddress)[0] = value;

    private byte Peek(Domain domain, ulong gfn)
    {
        var entry = domain.Pages.Find(gfn, write: false);
        Assert.True(entry.IsPresent);
        return _lab.Machine.Memory.RestOfPage(entry.MachineAddress)[0];
    }
}
