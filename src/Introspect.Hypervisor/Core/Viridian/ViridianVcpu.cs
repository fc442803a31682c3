using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Core.Platform.Apic;

namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>
/// The enlightenments of a vCPU. All but the timers is the vCPU's own thread's, or another's while the vCPU stands
/// still. Pages are kept as their frames' numbers, and looked up when they are written.
/// </summary>
internal sealed partial class ViridianVcpu : IApicAssist
{
    private const ulong Enabled = 1;

    private readonly ViridianDomain _domain;
    private readonly IViridianVcpuHost _host;
    private CrashParameters _crash;
    private ulong _assistPage;
    private bool _assistPending;

    public ViridianVcpu(ViridianDomain domain, uint vcpuId, IViridianVcpuHost host)
    {
        (_domain, VcpuId, _host) = (domain, vcpuId, host);
        ResetSynic();
        if (host.Apic is { } apic && (domain.Features.HasApicAssist || domain.Features.HasSynic))
        {
            apic.Assist = this;
        }
    }

    /// <summary>The vCPU's number.</summary>
    public uint VcpuId { get; }

    /// <summary>The domain's enlightenments.</summary>
    public ViridianDomain Domain => _domain;

    bool IApicAssist.TakeCompleted()
    {
        if (!_assistPending || !TryHoldAssist(out var page))
        {
            return false;
        }

        using var _ = page;
        if (Assist(page) != 0)
        {
            return false;
        }

        _assistPending = false;
        return true;
    }

    void IApicAssist.Offer()
    {
        if (!_domain.Features.HasApicAssist || !TryHoldAssist(out var page))
        {
            return;
        }

        using var _ = page;
        if (_assistPending)
        {
            // As on Xen: the guest would wait for an interrupt that never comes.
            _host.Crash();
        }

        _assistPending = true;
        Assist(page) = 1;
    }

    void IApicAssist.Withdraw()
    {
        if (_assistPending && TryHoldAssist(out var page))
        {
            using var _ = page;
            Assist(page) = 0;
            _assistPending = false;
        }
    }

    bool IApicAssist.EndsByItself(byte vector) => _domain.Features.HasSynic && IsAutoEoi(vector);

    private static ref uint Assist(HeldPage page) => ref MemoryMarshal.AsRef<uint>(page.Bytes);

    private bool TryHoldAssist(out HeldPage page)
    {
        page = default;
        return (_assistPage & Enabled) != 0 && _domain.Host.TryHoldPage(_assistPage >> Gfn.PageShift, out page);
    }

    private void SetAssistPage(ulong value)
    {
        _assistPage = value;
        ClearPage(value);
    }

    private void ClearPage(ulong register)
    {
        if ((register & Enabled) != 0 && _domain.Host.TryHoldPage(register >> Gfn.PageShift, out var page))
        {
            using var _ = page;
            page.Bytes.Clear();
        }
    }

    /// <summary>What a guest says of its crash.</summary>
    [InlineArray(Count)]
    internal struct CrashParameters
    {
        public const int Count = 5;

        private ulong _first;
    }
}
