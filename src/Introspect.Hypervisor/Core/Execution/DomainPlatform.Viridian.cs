using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>The domain's enlightenments, and the domain as they need it.</summary>
internal sealed partial class DomainPlatform : IViridianHost
{
    private ViridianDomain? _viridian;

    /// <summary>The enlightenments, or null.</summary>
    public ViridianDomain? Viridian => Volatile.Read(ref _viridian);

    uint IViridianHost.VcpuCount => Domain.MaxVcpus;

    CpuVendor IViridianHost.Vendor => Domain.Personality.Vendor;

    ulong IViridianHost.TscFrequency => Clock.Frequency;

    bool IViridianHost.FollowsInstructions => Clock.Source == ClockSource.Instructions;

    bool IViridianHost.IsHeld => Domain.PauseCount != 0 || Domain.IsShutDown;

    ulong IViridianHost.Cycles => Clock.Cycles;

    ulong IViridianHost.ToNanoseconds(ulong cycles) => Clock.ToNanoseconds(cycles);

    void IViridianHost.KeepCrash() => KeptShutdownReason = ShutdownReason.Crash;

    /// <inheritdoc/>
    public void HoldChanged()
    {
        Viridian?.Follow();
        if (Domain.PauseCount == 0)
        {
            Store.CatchUp();
        }
    }

    /// <inheritdoc/>
    public bool TryReadPhysical(ulong gpa, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            var entry = Domain.Pages.Find(gpa >> Gfn.PageShift, write: false);
            if (entry.Type is not (P2mType.RamRw or P2mType.RamRo or P2mType.RamShared))
            {
                return false;
            }

            var page = Domain.Machine.Memory.RestOfPage(entry.MachineAddress + (gpa & (Gfn.PageSize - 1)));
            var length = Math.Min(page.Length, destination.Length);
            page[..length].CopyTo(destination);
            destination = destination[length..];
            gpa += (ulong)length;
        }

        return true;
    }

    /// <inheritdoc/>
    public bool TryHoldPage(ulong gfn, out HeldPage page)
    {
        page = default;
        if (Domain.Pages.Find(gfn, write: true).Type != P2mType.RamRw || !Domain.Pages.TryHold(gfn, out var extent, out var address))
        {
            return false;
        }

        page = new HeldPage(this, extent, address, Domain.Machine.Memory.RestOfPage(address));
        return true;
    }

    /// <inheritdoc/>
    public void ReleasePage(object holder, ulong address)
    {
        // Told behind the write: who decoded the page meanwhile decoded what it is now, or drops it.
        if (Domain.Machine.Memory.HasCode(address))
        {
            Domain.DropCode(address / MachineMemory.PageSize);
        }

        ((MachineExtent)holder).Release(address);
    }

    private Errno SetViridian(ulong mask)
    {
        var error = ViridianDomain.TryCreate(Viridian, mask, this, Options.Viridian, out var created);
        if (error != Errno.None)
        {
            return error;
        }

        // Xen's leaves and its register make room.
        _cpuid = _cpuid with { ViridianFirst = true };
        Policy = new CpuidPolicy(_cpuid);
        Msrs = MakeMsrs();
        Volatile.Write(ref _viridian, created);
        foreach (var vcpu in Domain.Vcpus)
        {
            (vcpu.Runner as VcpuRunner)?.AttachViridian();
        }

        if (created!.Features.HasSyntheticTimers)
        {
            Timers.Synthetic = created;
        }

        HoldChanged();
        return Errno.None;
    }

    private void AddViridianSections()
    {
        Domain.ContextSections.Add(new ViridianDomainSection(() => Viridian));
        Domain.ContextSections.Add(new ViridianVcpuSection(vcpu => Viridian?.Find(vcpu)));
        Domain.CoreSections.Add(new ViridianVcpuRestSection(vcpu => Viridian?.Find(vcpu)));
    }
}
