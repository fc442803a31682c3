using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core;

/// <summary>
/// Ends monitoring so that nothing is left of it: events off, rights back, every request answered, every vCPU let
/// run once (what was put off until it runs, like a register write, is lost with the ring), and then the ring off.
/// </summary>
/// <param name="calls">The door.</param>
/// <param name="domain">The domain.</param>
/// <param name="views">The views that the monitor used.</param>
/// <param name="answerAll">Answers every request there is, and says how many there were.</param>
internal sealed class MonitorTeardown(ToolstackCalls calls, CoreDomain domain, CoreAltp2m views, Func<int> answerAll)
{
    // A vCPU that nothing holds runs within a millisecond or so; on a loaded machine it may take its time.
    private const int MaxRounds = 2000;
    private static readonly TimeSpan Round = TimeSpan.FromMilliseconds(1);

    private ushort Number => domain.Id.Value;

    /// <summary>Runs it. A domain that is gone has nothing left to end.</summary>
    public void Run(IEnumerable<MonitorEvent> enabled, bool changedAccess, bool accessRequired)
    {
        try
        {
            if (accessRequired)
            {
                MonitorControl.SetAccessRequired(calls, Number, required: false);
            }

            var before = Quiesce(enabled, changedAccess);
            LetRun(before);
            DisableRing();
        }
        catch (HypervisorException gone) when (gone.Error == Errno.ESRCH)
        {
            // Everything went with the domain.
        }
    }

    private ulong[] Quiesce(IEnumerable<MonitorEvent> enabled, bool changedAccess)
    {
        domain.Pause();
        try
        {
            foreach (var monitorEvent in enabled)
            {
                var result = MonitorControl.TrySwitch(calls, Number, monitorEvent, on: false);
                if (result is not (Errno.None or Errno.EEXIST or Errno.EINVAL))
                {
                    ToolstackCalls.Check(result, $"disabling {monitorEvent} on domain {Number}");
                }
            }

            if (changedAccess)
            {
                ResetRights();
            }

            views.Undo();
            var times = ReadTimes();
            answerAll();
            return times;
        }
        finally
        {
            domain.Unpause();
        }
    }

    private void ResetRights()
    {
        try
        {
            MemoryRights.Reset(calls, Number);
        }
        catch (HypervisorException gone) when (gone.Error == Errno.ENODEV)
        {
            // Somebody recovered the domain from us: without a ring, what is left of rights is lifted when it is met.
        }
    }

    // Until every vCPU ran since the answers, or is held by somebody else. One that waits for a slot puts its request now.
    private void LetRun(ulong[] before)
    {
        for (var round = 0; round < MaxRounds; round++)
        {
            answerAll();
            if ((calls.GetDomainInfo(Number).Flags & (DomainInfoFlags.Paused | DomainInfoFlags.Shutdown)) != 0 || HaveAllRun(before))
            {
                break;
            }

            Thread.Sleep(Round);
        }

        answerAll();
    }

    private bool HaveAllRun(ulong[] before)
    {
        for (uint vcpu = 0; vcpu < before.Length; vcpu++)
        {
            var info = ReadVcpuInfo(vcpu);
            if (info.Online != 0 && info.Blocked == 0 && info.CpuTime == before[vcpu])
            {
                return false;
            }
        }

        return true;
    }

    private void DisableRing()
    {
        // EBUSY: a vCPU found no slot just now. It gets one as soon as another request is answered.
        var result = Errno.EBUSY;
        for (var round = 0; round < MaxRounds && result == Errno.EBUSY; round++)
        {
            result = calls.TryRing(Number, VmEventOperation.Disable, out _);
            if (result == Errno.EBUSY && answerAll() == 0)
            {
                Thread.Sleep(Round);
            }
        }

        // EINVAL: somebody recovered the domain from us.
        if (result is not (Errno.None or Errno.EINVAL))
        {
            ToolstackCalls.Check(result, $"disabling the monitor of domain {Number}");
        }
    }

    private ulong[] ReadTimes()
    {
        var times = new ulong[unchecked(calls.GetDomainInfo(Number).MaxVcpuId + 1)];
        for (uint vcpu = 0; vcpu < times.Length; vcpu++)
        {
            times[vcpu] = ReadVcpuInfo(vcpu).CpuTime;
        }

        return times;
    }

    private DomctlVcpuInfo ReadVcpuInfo(uint vcpu)
    {
        var domctl = ToolstackCalls.Domctl(DomctlCommand.GetVcpuInfo, Number);
        domctl.VcpuInfo.Vcpu = vcpu;
        calls.Call(ref domctl, default, $"asking for vCPU {vcpu} of domain {Number}");
        return domctl.VcpuInfo;
    }
}
