using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>The end of a machine: its hardware domain shut down.</summary>
internal sealed partial class Machine
{
    private readonly TaskCompletionSource<MachineEnd> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _ending;

    /// <summary>Tells how the machine ended, once every domain on it stands still.</summary>
    public Task<MachineEnd> Ended => _ended.Task;

    /// <summary>The machine is ending or has ended: no domain is made or resumed any more.</summary>
    public bool IsEnding => Volatile.Read(ref _ending);

    /// <summary>
    /// The hardware domain shut down. Stops every other domain, one after the other by their numbers; on a thread of
    /// its own, since the caller may be a vCPU, for which nobody waits who holds the control lock.
    /// </summary>
    public void End(Domain hardwareDomain, ShutdownReason reason)
    {
        if (!Interlocked.Exchange(ref _ending, true))
        {
            new Thread(() => StopOthers(hardwareDomain, reason)) { IsBackground = true, Name = "end of the machine" }.Start();
        }
    }

    /// <summary>Refuses what needs a machine that runs.</summary>
    /// <exception cref="HypervisorException">ENODEV: it has ended.</exception>
    public void CheckRuns()
    {
        if (IsEnding)
        {
            throw new HypervisorException(Errno.ENODEV, "the machine has ended with its hardware domain's shutdown: start another one");
        }
    }

    private void StopOthers(Domain hardwareDomain, ShutdownReason reason)
    {
        var stopped = new List<DomainId>();
        lock (ControlLock)
        {
            foreach (var domain in Domains)
            {
                if (domain == hardwareDomain || domain.IsGone)
                {
                    continue;
                }

                if (!domain.IsShutDown)
                {
                    stopped.Add(domain.Id);
                    domain.Shutdown(ShutdownReason.Poweroff);
                }

                foreach (var vcpu in domain.Vcpus)
                {
                    vcpu.WaitUntilStopped();
                }
            }

            foreach (var vcpu in hardwareDomain.Vcpus)
            {
                vcpu.WaitUntilStopped();
            }
        }

        _ended.SetResult(new(hardwareDomain.Id, reason, stopped));
    }

    /// <summary>Waits for an end that is under way, before what it looks at goes.</summary>
    private void WaitForEnd()
    {
        if (IsEnding)
        {
            Ended.Wait();
        }
    }
}
