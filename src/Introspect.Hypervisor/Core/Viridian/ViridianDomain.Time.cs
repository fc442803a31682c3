using System.Runtime.InteropServices;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>Time: it follows the domain's pauses; and the page by which a guest tells the time without leaving.</summary>
internal sealed partial class ViridianDomain : ISyntheticTimers
{
    private readonly Lock _followLock = new();
    private ulong _referenceTsc;

    // The page's contents are wanted anew as often as the one counter says, and were written as the other says.
    private readonly Lock _pageLock = new();
    private int _pageWanted;
    private int _pageWritten;

    /// <summary>The register of the reference TSC page.</summary>
    public ulong ReferenceTsc => Volatile.Read(ref _referenceTsc);

    /// <inheritdoc/>
    public ulong NextDeadline
    {
        get
        {
            var next = ulong.MaxValue;
            foreach (var vcpu in _vcpus)
            {
                next = Math.Min(next, vcpu?.NextDeadline ?? ulong.MaxValue);
            }

            return next;
        }
    }

    /// <inheritdoc/>
    public void Expire(ulong now)
    {
        foreach (var vcpu in _vcpus)
        {
            vcpu?.ExpireTimers(now);
        }
    }

    /// <inheritdoc/>
    public void Hold()
    {
        foreach (var vcpu in _vcpus)
        {
            vcpu?.SuspendTimers();
        }
    }

    /// <summary>Time stands still, or goes on, as the domain does. Any thread, and before a vCPU enters the guest.</summary>
    /// <returns>True when it goes.</returns>
    public bool Follow()
    {
        lock (_followLock)
        {
            if (_host.IsHeld)
            {
                if (Time.Freeze(_host.Cycles))
                {
                    Hold();
                }
            }
            else if (Time.Thaw(_host.Cycles))
            {
                PageIsStale();
                foreach (var vcpu in _vcpus)
                {
                    vcpu?.ResumeTimers();
                }

                _host.DeadlineChanged();
            }

            return Time.IsRunning;
        }
    }

    /// <summary>What the first vCPU's TSC is ahead of the clock. A vCPU's thread, before its entry.</summary>
    public void FollowTsc(ulong tscOffset, ulong cycles)
    {
        if (tscOffset != Time.TscOffset)
        {
            Time.MoveTsc(tscOffset, cycles);
            PageIsStale();
        }
    }

    /// <summary>
    /// Writes the page where it is not up to date. Each vCPU does so before its entry, so that none is in the guest with
    /// an old page.
    /// </summary>
    public void RefreshReferencePage()
    {
        if (Volatile.Read(ref _pageWanted) != Volatile.Read(ref _pageWritten))
        {
            WriteReferencePage(initialise: false);
        }
    }

    /// <summary>The guest writes the register.</summary>
    public void SetReferenceTsc(ulong value)
    {
        Volatile.Write(ref _referenceTsc, value);
        WriteReferencePage(initialise: true);
    }

    private void WriteReferencePage(bool initialise)
    {
        var register = ReferenceTsc;
        if ((register & Enabled) == 0 || !_host.TryHoldPage(register >> Gfn.PageShift, out var held))
        {
            Volatile.Write(ref _pageWritten, Volatile.Read(ref _pageWanted));
            return; // there is no page, and nothing to tell
        }

        using var _ = held;
        lock (_pageLock)
        {
            var wanted = Volatile.Read(ref _pageWanted);
            if (initialise)
            {
                held.Bytes.Clear();
            }

            Fill(held.Bytes);
            Volatile.Write(ref _pageWritten, wanted);
        }
    }

    private void Fill(Span<byte> page)
    {
        ref var contents = ref MemoryMarshal.AsRef<ReferenceTscPage>(page);
        if (Time.Scale == 0)
        {
            contents.Sequence = 0; // the page is of no use
            return;
        }

        var offset = Time.Offset;
        if (contents.Sequence != 0 && contents.Scale == Time.Scale && contents.Offset == offset)
        {
            return; // as it was: the guest need not look again
        }

        (contents.Scale, contents.Offset) = (Time.Scale, offset);
        var next = contents.Sequence + 1;
        Volatile.Write(ref contents.Sequence, next == 0 ? 1 : next);
    }

    private void PageIsStale() => Interlocked.Increment(ref _pageWanted);

    /// <summary><c>HV_REFERENCE_TSC_PAGE</c>: the guest reads sequence, scale and offset, and the sequence again.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct ReferenceTscPage
    {
        public uint Sequence;
        private uint _reserved;
        public ulong Scale;
        public ulong Offset;
    }
}
