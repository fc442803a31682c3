using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>A platform whose state comes from another domain's: its sections, and the pages that no section holds.</summary>
internal sealed partial class DomainPlatform
{
    private readonly ulong[] _registeredInfoGfn;

    /// <summary>Instructions that a clock which follows them counts: of all vCPUs where they take turns, else of the first.</summary>
    public ulong RetiredForClock => IsInterleaved
        ? _instructionsElsewhere + (Volatile.Read(ref _turn)?.Runner.Retired ?? 0)
        : (Domain.FindVcpu(0)?.Runner as VcpuRunner)?.Cpu.RetiredNow ?? 0;

    /// <summary>Moves a vCPU's vcpu_info into a page of the guest's, which is held from now on.</summary>
    /// <param name="vcpuId">vCPU.</param>
    /// <param name="gfn">Frame.</param>
    /// <param name="offset">Where in the page.</param>
    /// <param name="contents">What it begins with; empty: what is there.</param>
    /// <returns>False: there is no page of RAM.</returns>
    public bool TryRegisterVcpuInfo(uint vcpuId, ulong gfn, uint offset, ReadOnlySpan<byte> contents)
    {
        if (Domain.Pages.Find(gfn, write: true).Type != P2mType.RamRw || !Domain.Pages.TryPin(gfn, out var page))
        {
            return false;
        }

        contents.CopyTo(Domain.Machine.Memory.RestOfPage(page + offset));
        _registeredInfoGfn[vcpuId] = gfn;
        Volatile.Write(ref _registeredInfo[vcpuId], page + offset);
        return true;
    }

    /// <inheritdoc/>
    public void BeforeStateCopy()
    {
        Timers.StopAll();
        Domain.Machine.Store.Settle();
    }

    /// <inheritdoc/>
    public void CopyPages(IDomainPlatform parent)
    {
        if (parent is not DomainPlatform source)
        {
            return;
        }

        MemoryMap = source.MemoryMap;
        Store.Disconnect();
        for (uint vcpuId = 0; vcpuId < _registeredInfo.Length; vcpuId++)
        {
            CopyVcpuInfo(source, vcpuId);
        }

        Grants.CopyFrom(source.Grants);
    }

    private void AddSections()
    {
        Domain.ContextSections.Add(new MtrrSection(Domain));
        Domain.CoreSections.Add(new PlatformSection(this));
        Domain.CoreSections.Add(new EventChannelSection(Events));
        Domain.CoreSections.Add(new VcpuSection(Domain));
        AddViridianSections();
        Domain.CoreSections.Add(new TimerSection(Timers));
    }

    private void CopyVcpuInfo(DomainPlatform source, uint vcpuId)
    {
        const ulong InPage = Gfn.PageSize - 1;
        var theirs = source._registeredInfo[vcpuId];
        var gfn = source._registeredInfoGfn[vcpuId];
        if (theirs != 0)
        {
            Domain.Pages.TryCopyFrom(source.Domain, gfn);
        }

        var wanted = theirs == 0 ? 0 : Domain.Pages.Find(gfn, write: true).MachineAddress + (theirs & InPage);
        if (_registeredInfo[vcpuId] == wanted)
        {
            return;
        }

        UnregisterVcpuInfo(vcpuId);
        if (theirs != 0)
        {
            TryRegisterVcpuInfo(vcpuId, gfn, (uint)(theirs & InPage), []);
        }
    }

    private void UnregisterVcpuInfo(uint vcpuId)
    {
        var address = Interlocked.Exchange(ref _registeredInfo[vcpuId], 0);
        if (address != 0)
        {
            Domain.Pages.Unpin(address & ~(ulong)(Gfn.PageSize - 1));
        }
    }

    private void UnregisterVcpuInfos()
    {
        for (uint vcpuId = 0; vcpuId < _registeredInfo.Length; vcpuId++)
        {
            UnregisterVcpuInfo(vcpuId);
        }
    }
}
