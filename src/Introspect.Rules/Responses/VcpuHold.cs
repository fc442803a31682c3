using Introspect.Hypervisor;

namespace Introspect.Rules.Responses;

/// <summary>
/// Holds every vCPU of a domain but one, so that this one can step past what is watched while it is not. Used on the
/// pump's thread.
/// </summary>
internal sealed class VcpuHold(IDomain domain, int vcpus, Action<string, HypervisorException> failed)
{
    private const uint Nobody = uint.MaxValue;

    private uint _owner = Nobody;
    private bool _isUnsupported;

    /// <summary>True when the vCPU is held for another one's step.</summary>
    public bool IsHeld(uint vcpu) => _owner != Nobody && _owner != vcpu;

    /// <summary>Holds all others until <see cref="Release"/>. Does nothing where there are no others.</summary>
    /// <returns>False when the hypervisor cannot, or another vCPU is being stepped already.</returns>
    public bool TryTake(uint vcpu)
    {
        if (vcpus == 1 || _owner == vcpu)
        {
            return true;
        }

        if (_owner != Nobody || _isUnsupported)
        {
            return false;
        }

        var held = 0u;
        try
        {
            domain.Pause();
            try
            {
                for (; held < vcpus; held++)
                {
                    if (held != vcpu)
                    {
                        domain.PauseVcpu(new(held));
                    }
                }
            }
            catch (HypervisorException)
            {
                LetGo(vcpu, held);
                throw;
            }
            finally
            {
                domain.Unpause();
            }

            _owner = vcpu;
            return true;
        }
        catch (HypervisorException refused)
        {
            _isUnsupported = refused.Error is Errno.EOPNOTSUPP or Errno.ENOSYS;
            if (!_isUnsupported)
            {
                failed("holding the other vCPUs for a step", refused);
            }

            return false;
        }
    }

    /// <summary>Lets the others go on.</summary>
    public void Release()
    {
        if (_owner == Nobody)
        {
            return;
        }

        var owner = _owner;
        _owner = Nobody;
        try
        {
            domain.Pause();
            try
            {
                LetGo(owner, (uint)vcpus);
            }
            finally
            {
                domain.Unpause();
            }
        }
        catch (HypervisorException refused)
        {
            failed("letting the other vCPUs go on", refused);
        }
    }

    private void LetGo(uint owner, uint end)
    {
        for (var vcpu = 0u; vcpu < end; vcpu++)
        {
            if (vcpu == owner)
            {
                continue;
            }

            try
            {
                domain.UnpauseVcpu(new(vcpu));
            }
            catch (HypervisorException refused)
            {
                // The rest must go on all the same.
                failed($"letting vCPU {vcpu} go on", refused);
            }
        }
    }
}
