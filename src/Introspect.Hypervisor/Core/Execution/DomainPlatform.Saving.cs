using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>Where a vCPU keeps its vcpu_info, in a page of the guest's.</summary>
internal readonly record struct VcpuInfoPlace(uint Vcpu, ulong Gfn, uint Offset);

/// <summary>What a platform tells, and is told, when its domain is saved as a whole or built from what was saved.</summary>
internal sealed partial class DomainPlatform
{
    /// <summary>The places of vcpu_info that were registered.</summary>
    public IReadOnlyList<VcpuInfoPlace> VcpuInfoPlaces
    {
        get
        {
            const ulong InPage = Gfn.PageSize - 1;
            var places = new List<VcpuInfoPlace>();
            for (uint vcpu = 0; vcpu < _registeredInfo.Length; vcpu++)
            {
                if (_registeredInfo[vcpu] is var address and not 0)
                {
                    places.Add(new(vcpu, _registeredInfoGfn[vcpu], (uint)(address & InPage)));
                }
            }

            return places;
        }
    }

    /// <summary>
    /// From now on the domain is told these features, and this frequency; the vCPUs do not exist yet. Nothing is added that
    /// the interpreter does not have.
    /// </summary>
    /// <returns>EEXIST: there are vCPUs; EINVAL: no clock can have the frequency.</returns>
    public Errno TellFeatures(CpuFeatureSet features, ulong tscFrequency, bool forcedEmulationPrefix)
    {
        if (Domain.Vcpus.Count != 0)
        {
            return Errno.EEXIST;
        }

        if (tscFrequency < VirtualClock.LeastFrequency)
        {
            return Errno.EINVAL;
        }

        Options = Options with { Features = features, TscFrequency = tscFrequency, ForcedEmulationPrefix = forcedEmulationPrefix };
        _cpuid = _cpuid with { Features = FeaturesOf(Domain, Options), TscFrequency = tscFrequency };
        Policy = new CpuidPolicy(_cpuid with { ViridianFirst = Viridian is not null });
        Msrs = new MsrFile(Policy);
        return Errno.None;
    }

    /// <summary>A clock that follows the host says the host's date again, which went on while the domain was saved.</summary>
    public void CatchUpDate()
    {
        if (Clock.Source == ClockSource.Host)
        {
            Clock.SetDate(World.UnixNanoseconds);
            Shared.WriteWallClock(Clock.WallClockBase);
        }
    }
}
