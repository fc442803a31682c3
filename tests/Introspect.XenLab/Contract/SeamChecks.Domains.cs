using Introspect.Hypervisor;
using Introspect.XenLab.Guest;

namespace Introspect.XenLab.Contract;

/// <summary>Domains, vCPUs, memory.</summary>
internal static partial class SeamChecks
{
    private const int BreakpointVector = 3;

    private static readonly TraceGuestOptions Forever = new(Rounds: 0);

    private static void Domains_are_listed_and_opened_by_number_name_and_uuid(IContractLab lab)
    {
        using var one = new GuestUnderTest(lab, Forever, "first");
        using var two = new GuestUnderTest(lab, Forever, "second");
        var ids = lab.Hypervisor.ListDomains().Select(static d => d.Id).ToList();
        Check.True(ids.Contains(one.Id) && ids.Contains(two.Id), "both are listed");
        var info = one.Domain.GetInfo();
        Check.Equal(("first", 1, lab.Vendor, DomainState.Paused), (info.Name, info.VcpuCount, info.Vendor, info.State), "what the first is");
        using var byName = lab.Hypervisor.Open(DomainRef.Parse("second"));
        using var byUuid = lab.Hypervisor.Open(DomainRef.Parse(info.Uuid.ToString("D")));
        Check.Equal(two.Id, byName.Id, "the domain of the second's name");
        Check.Equal(one.Id, byUuid.Id, "the domain of the first's UUID");
    }

    private static void A_domain_that_does_not_exist_or_is_gone_is_ESRCH(IContractLab lab)
    {
        Check.Refused(Errno.ESRCH, "opening a number that is none", () => lab.Hypervisor.Open(new DomainId(4711)).Dispose());
        Check.Refused(Errno.ESRCH, "opening a name that is none", () => lab.Hypervisor.Open(DomainRef.Parse("nobody")).Dispose());
        var guest = new GuestUnderTest(lab, Forever);
        using var opened = lab.Hypervisor.Open(guest.Id);
        guest.Dispose();

        // Xen knows a dying domain for as long as anybody, as its console's daemon, has a page of it.
        Check.Eventually(() => IsGone(opened), "a domain that was destroyed is gone");
        Check.Refused(Errno.ESRCH, "asking for a domain that is gone", () => opened.GetInfo());
        Check.Refused(Errno.ESRCH, "pausing a domain that is gone", opened.Pause);
        Check.Refused(Errno.ESRCH, "monitoring a domain that is gone", () => opened.EnableMonitor().Dispose());
    }

    private static bool IsGone(IDomain domain)
    {
        try
        {
            domain.GetInfo();
            return false;
        }
        catch (HypervisorException e) when (e.Error == Errno.ESRCH)
        {
            return true;
        }
    }

    private static void Watching_sees_domains_come_and_go(IContractLab lab) => WatchAsync(lab).GetAwaiter().GetResult();

    private static async Task WatchAsync(IContractLab lab)
    {
        using var patience = new CancellationTokenSource(Check.Patience);
        await using var changes = lab.Hypervisor.WatchAsync(patience.Token).GetAsyncEnumerator(patience.Token);
        var guest = new GuestUnderTest(lab, Forever, "watched");
        await UntilAsync(DomainChangeKind.Appeared).ConfigureAwait(false);
        guest.Dispose();
        await UntilAsync(DomainChangeKind.Ended).ConfigureAwait(false);

        async Task UntilAsync(DomainChangeKind kind)
        {
            while (await changes.MoveNextAsync().ConfigureAwait(false))
            {
                if (changes.Current.Kind == kind && changes.Current.Domain.Id == guest.Id)
                {
                    return;
                }
            }

            Check.True(false, $"{kind} is told");
        }
    }

    private static void Pauses_nest(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, Forever);
        guest.Start();
        guest.CheckGoesOn("after its start");
        guest.Domain.Pause();
        guest.Domain.Pause();
        guest.Domain.Unpause();
        Check.Equal(DomainState.Paused, guest.Domain.GetInfo().State, "state after two pauses and one unpause");
        var counter = guest.Read(TraceLayout.Counter);
        Check.Equal(counter, guest.Read(TraceLayout.Counter), "the counter while paused");
        guest.Domain.Unpause();
        guest.CheckGoesOn("after as many unpauses as pauses");
        Check.Refused(Errno.EINVAL, "an unpause too many", guest.Domain.Unpause);
    }

    private static void A_vcpu_is_read_and_written(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, Forever);
        var state = guest.Domain.ReadVcpu(new(0));
        Check.Equal((TraceLayout.Entry32, 0x11UL, 0UL, 0UL), (state.Rip, state.Cr0, state.Cr4, state.MsrEfer), "RIP, CR0, CR4 and EFER at the PVH entry");
        Check.Equal((0u, 0xffff_ffffu), ((uint)state.Cs.Base, state.Cs.Limit), "CS at the PVH entry");
        state.Rsi = 0x1234_5678;
        guest.Domain.WriteVcpu(new(0), state);
        var read = guest.Domain.ReadVcpu(new(0));
        Check.Equal((state.Rsi, state.Rip, state.Rbx), (read.Rsi, read.Rip, read.Rbx), "RSI, RIP and RBX after writing");
        Check.Refused(Errno.ENOENT, "reading a vCPU that is none", () => guest.Domain.ReadVcpu(new(9)));
        guest.Start();
        guest.CheckGoesOn("after its registers were written");
    }

    private static void Guest_memory_is_read_and_written(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, Forever);
        const int CodeInFile = 0x2000;
        Span<byte> code = stackalloc byte[64];
        guest.Domain.Memory.ReadPhysical(new(TraceLayout.Code64), code);
        Check.True(code.SequenceEqual(guest.Image.AsSpan(CodeInFile, code.Length)), "the guest's code is the image's");

        Span<byte> written = [1, 2, 3, 4];
        Span<byte> read = stackalloc byte[4];
        guest.Domain.Memory.WritePhysical(new(TraceLayout.Scratch - 2), written);
        guest.Domain.Memory.ReadPhysical(new(TraceLayout.Scratch - 2), read);
        Check.True(read.SequenceEqual(written), "what was written over the end of a page is read");
        Check.Refused(Errno.EFAULT, "reading where there is no memory", () => guest.Domain.Memory.ReadPhysical(new(0xe000_0000), new byte[1]));

        guest.Start();
        guest.CheckGoesOn("after its start");
        guest.Domain.Pause();
        var space = guest.Domain.ReadVcpu(new(0)).AddressSpace;
        Check.Equal(PagingMode.FourLevel, space.Mode, "paging");
        Check.True(guest.Domain.Memory.TryTranslate(space, new(TraceLayout.Counter), out var physical) && physical == new GuestPhysical(TraceLayout.Counter), "the counter is mapped one to one");
        Check.True(!guest.Domain.Memory.TryTranslate(space, new(0x7fff_ffff_f000), out _), "the end of user space is not mapped");
        guest.Domain.Unpause();
    }

    private static void A_trap_that_is_injected_comes(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, new(Rounds: 0, Load: true));
        guest.Start();
        guest.CheckGoesOn("after its start");
        Check.Equal(0UL, guest.Exceptions(BreakpointVector), "breakpoints before");
        guest.Domain.Pause();
        guest.Domain.InjectTrap(new(0), new(BreakpointVector, 3, 0, TrapInjection.NoErrorCode, 0));
        Check.Refused(Errno.EBUSY, "a second trap", () => guest.Domain.InjectTrap(new(0), new(BreakpointVector, 3, 0, TrapInjection.NoErrorCode, 0)));
        Check.Refused(Errno.EINVAL, "a trap for a vCPU that is none", () => guest.Domain.InjectTrap(new(9), TrapInjection.Breakpoint(1)));
        guest.Domain.Unpause();
        Check.Eventually(() => guest.Exceptions(BreakpointVector) == 1, "the guest takes the breakpoint");
        guest.CheckGoesOn("after it");
    }
}
