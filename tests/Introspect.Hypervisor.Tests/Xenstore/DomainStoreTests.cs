using System.Buffers.Binary;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Building.Demo;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Saving;
using Introspect.Hypervisor.Core.Xenstore;
using Introspect.Hypervisor.Tests.Forks;
using Introspect.Hypervisor.Tests.Saving;

namespace Introspect.Hypervisor.Tests.Xenstore;

/// <summary>Domains and the store of their machine: by the page and the port that a guest finds in its parameters.</summary>
public sealed class DomainStoreTests
{
    private const string Home = "/local/domain/1";

    [Fact]
    public void A_domain_that_is_built_has_its_nodes_and_loses_them_with_its_end()
    {
        using var lab = new SavingLab(new()).Build(DemoGuest.Build().Image, megabytes: 8);
        var store = lab.Machine.Store;
        Assert.Equal("guest", store.Read($"{Home}/name"));
        Assert.Equal("8192", store.Read($"{Home}/memory/target"));
        Assert.Equal($"{SpecialPages.Xenstore}", store.Read($"{Home}/store/ring-ref"));
        Assert.Equal($"{lab.Domain.GetParam(HvmParam.StoreEvtchn)}", store.Read($"{Home}/store/port"));
        Assert.Equal($"{SpecialPages.Console}", store.Read($"{Home}/console/ring-ref"));
        Assert.Equal($"{lab.Domain.GetParam(HvmParam.ConsoleEvtchn)}", store.Read($"{Home}/console/port"));
        Assert.Equal(["name", "uuid"], store.List($"/vm/{lab.Domain.Handle:D}")!.Order());
        Assert.Equal(0, lab.Toolstack.SetDomainName(1, "renamed"));
        Assert.Equal("renamed", store.Read($"{Home}/name"));

        lock (lab.Machine.ControlLock)
        {
            lab.Machine.DestroyDomain(lab.Domain);
        }

        Assert.Empty(store.List("/local/domain")!);
        Assert.Empty(store.List("/vm")!);
    }

    [Fact]
    public unsafe void A_domain_that_gets_another_uuid_is_found_by_that_one_alone()
    {
        using var lab = new SavingLab(new()).Build(DemoGuest.Build().Image);
        var store = lab.Machine.Store;
        var built = lab.Domain.Handle;
        var given = new Guid("00112233-4455-6677-8899-aabbccddeeff");
        var domctl = ToolstackCalls.Domctl(DomctlCommand.SetDomainHandle, 1);
        given.TryWriteBytes(new Span<byte>(domctl.SetDomainHandle.Handle, 16), bigEndian: true, out _);
        Assert.Equal(Errno.None, new ToolstackCalls(lab.Toolstack).TryCall(ref domctl, default));
        Assert.NotEqual(built, given);
        Assert.Equal(given, lab.Domain.Handle);
        Assert.Equal([$"{given:D}"], store.List("/vm"));
        Assert.Equal($"/vm/{given:D}", store.Read($"{Home}/vm"));
        Assert.Equal((given.ToString("D"), "guest"), (store.Read($"/vm/{given:D}/uuid"), store.Read($"/vm/{given:D}/name")));
        Assert.Equal([new(0, StoreRights.None), new(1, StoreRights.Read)], store.PermissionsOf($"/vm/{given:D}/uuid")!);
        Assert.Equal(0, lab.Toolstack.SetDomainName(1, "renamed"));
        Assert.Equal("renamed", store.Read($"/vm/{given:D}/name"));
        lock (lab.Machine.ControlLock)
        {
            lab.Machine.DestroyDomain(lab.Domain);
        }

        Assert.Empty(store.List("/vm")!);
    }

    [Fact]
    public void What_a_guest_asks_is_answered_before_its_hypercall_returns()
    {
        using var lab = new SavingLab(new()).Build(DemoGuest.Build().Image);
        Put(lab.Domain, 2, "name\0"u8);
        Assert.Equal(0, lab.Platform.Events.Send((uint)lab.Domain.GetParam(HvmParam.StoreEvtchn)));
        Assert.Equal("guest"u8.ToArray(), Page(lab.Domain).Slice(1024 + 16, 5).ToArray());
        Assert.True(lab.Platform.Events.IsPending((uint)lab.Domain.GetParam(HvmParam.StoreEvtchn)));
    }

    [Fact]
    public void A_guest_may_close_its_port_and_say_that_it_is_another_one()
    {
        using var lab = new SavingLab(new()).Build(DemoGuest.Build().Image);
        var port = (uint)lab.Domain.GetParam(HvmParam.StoreEvtchn);
        lab.Domain.SetParam(HvmParam.StoreEvtchn, 0xffff_ffff);
        Assert.Equal(0, lab.Platform.Events.Close(port, byGuest: true));
        lab.Machine.Store.Write($"{Home}/control/shutdown", "poweroff");
        Put(lab.Domain, 4, "control\0t\0"u8);
        lab.Machine.Store.Serve(1);
        Assert.True(lab.Machine.Store.IsWatchedBy(1, $"{Home}/control/shutdown"));
        Assert.Equal(0, lab.Platform.Events.BindIpi(0, out var reused));
        Assert.Equal(port, reused);
        lab.Machine.Store.Write($"{Home}/control/shutdown", "reboot");
        Assert.False(lab.Platform.Events.IsPending(reused));
    }

    [Fact]
    public void A_fork_has_no_store_and_its_parents_page_stays_as_it_was()
    {
        using var lab = new ForkLab(static code =>
        {
            var forever = code.CreateLabel();
            code.Label(ref forever);
            code.jmp(forever);
        });
        var parent = lab.Inside(lab.Parent);
        Put(parent, 4, "control\0t\0"u8);
        lab.Machine.Store.Serve(parent.Id.Value);
        var page = Page(parent).ToArray();
        using (var fork = lab.Parent.Fork())
        {
            var inside = lab.Inside(fork);
            Assert.Equal([parent.Id.ToString()], lab.Machine.Store.List("/local/domain"));
            Assert.Equal(page, Page(inside).ToArray());
            lab.Machine.Store.Write($"{Home}/control/shutdown", "poweroff");
            Put(inside, 2, "name\0"u8);
            Assert.Equal(0, ((DomainPlatform)inside.Platform).Events.Send((uint)inside.GetParam(HvmParam.StoreEvtchn)));
            Assert.Equal(page, Page(parent).ToArray());
            Assert.Equal(page.AsSpan(1024, 1024), Page(inside).Slice(1024, 1024));
            new ToolstackCalls(lab.Toolstack).Domctl(DomctlCommand.DestroyDomain, inside.Id.Value, "destroying the fork");
        }

        // The domain goes on, and is told now.
        Assert.Equal(Errno.None, parent.ControllerUnpause());
        Assert.Equal("control/shutdown\0t\0"u8.ToArray(), Page(parent).Slice(1024 + (int)BinaryPrimitives.ReadUInt32LittleEndian(page.AsSpan(2060)) + 16, 19).ToArray());
    }

    [Fact]
    public void A_restored_domain_keeps_its_watches_under_its_new_number()
    {
        using var first = new SavingLab(new()).Build(DemoGuest.Build().Image);
        Put(first.Domain, 4, "control/shutdown\0t\0"u8);
        first.Machine.Store.Serve(1);
        first.Machine.Store.Write($"{Home}/data/mine", "value");
        var saved = first.Save();

        using var second = new SavingLab(new()).Build(DemoGuest.Build().Image, name: "other");
        second.Domain.SetHandle(Guid.NewGuid());
        second.Restore(saved);
        var store = second.Machine.Store;
        Assert.Equal(2, second.Domain.Id.Value);
        Assert.Equal(("value", "2", "guest", "8192"), (store.Read("/local/domain/2/data/mine"), store.Read("/local/domain/2/domid"), store.Read("/local/domain/2/name"), store.Read("/local/domain/2/memory/target")));
        Assert.True(store.IsWatchedBy(2, "/local/domain/2/control/shutdown"));
        Assert.False(store.IsWatchedBy(1, "/local/domain/1/control/shutdown"));
        var producer = BinaryPrimitives.ReadUInt32LittleEndian(Page(second.Domain)[2060..]);
        store.Write("/local/domain/2/control/shutdown", "poweroff");
        Assert.True(BinaryPrimitives.ReadUInt32LittleEndian(Page(second.Domain)[2060..]) > producer);
        Assert.True(second.Platform.Events.IsPending((uint)second.Domain.GetParam(HvmParam.StoreEvtchn)));
    }

    [Fact]
    public void A_domain_that_was_saved_without_it_is_new_to_the_store()
    {
        using var first = new SavingLab(new()).Build(DemoGuest.Build().Image);
        var port = (uint)first.Domain.GetParam(HvmParam.StoreEvtchn);
        first.Platform.Events.Disconnect(port);
        Page(first.Domain)[2064..2068].Clear();
        var saved = ReSealed.Change(first.Save(), static (kind, payload) => kind == SavedKind.Store ? null : payload);
        Assert.NotEqual(saved.Length, first.Save().Length);

        using var second = new SavingLab(new()).Restore(saved);
        Assert.Equal(7u, BinaryPrimitives.ReadUInt32LittleEndian(Page(second.Domain)[2064..]));
        Put(second.Domain, 2, "name\0"u8);
        Assert.Equal(0, second.Platform.Events.Send(port));
        Assert.Equal("guest"u8.ToArray(), Page(second.Domain).Slice(1024 + 16, 5).ToArray());
    }

    [Fact]
    public void A_state_that_cannot_be_is_refused_and_nothing_is_left_behind()
    {
        using var first = new SavingLab(new()).Build(DemoGuest.Build().Image);
        var saved = ReSealed.Change(first.Save(), static (kind, payload) => kind == SavedKind.Store ? payload[..^1] : payload);
        using var second = new SavingLab(new());
        var refused = Assert.Throws<HypervisorException>(() => second.Restore(saved));
        Assert.Equal(Errno.EINVAL, refused.Error);
        Assert.Contains("xenstore", refused.Message, StringComparison.Ordinal);
        Assert.Empty(second.Machine.Domains);
        Assert.Empty(second.Machine.Store.List("/local/domain")!);
    }

    [Fact]
    public void Nothing_is_written_to_a_page_that_is_being_saved()
    {
        using var lab = new SavingLab(new()).Build(DemoGuest.Build().Image);
        Put(lab.Domain, 4, "control\0t\0"u8);
        lab.Machine.Store.Serve(1);
        var page = Page(lab.Domain).ToArray();
        lab.Platform.Store.StandStill();
        lab.Machine.Store.Write($"{Home}/control/shutdown", "poweroff");
        Assert.Equal(page, Page(lab.Domain).ToArray());
        lab.Platform.Store.GoOn();
        Assert.NotEqual(page, Page(lab.Domain).ToArray());
    }

    private static Span<byte> Page(Domain domain) =>
        domain.Machine.Memory.RestOfPage(domain.Pages.Find(domain.GetParam(HvmParam.StorePfn), write: true).MachineAddress);

    private static void Put(Domain domain, uint type, ReadOnlySpan<byte> payload)
    {
        var page = Page(domain);
        byte[] message = [.. StoreGuest.Header(type, 1, 0, (uint)payload.Length), .. payload];
        var at = BinaryPrimitives.ReadUInt32LittleEndian(page[2052..]);
        message.CopyTo(page[(int)at..]);
        BinaryPrimitives.WriteUInt32LittleEndian(page[2052..], at + (uint)message.Length);
    }
}
