using Introspect.Hypervisor;

namespace Introspect.XenLab.Contract;

/// <summary>A hypervisor behind the seam, and a toolstack that makes domains of the lab's guests on it.</summary>
internal interface IContractLab : IDisposable
{
    /// <summary>The seam.</summary>
    IHypervisor Hypervisor { get; }

    /// <summary>What the domains are like.</summary>
    CpuVendor Vendor { get; }

    /// <summary>Makes a domain, which stays paused at its first instruction.</summary>
    DomainId Create(string name, byte[] image);

    /// <summary>Lets a domain that was made go, for the first time.</summary>
    void Start(DomainId domain);

    /// <summary>Ends a domain.</summary>
    void Destroy(DomainId domain);
}

/// <summary>A check failed: what was expected and what was there.</summary>
internal sealed class ContractException(string message) : Exception(message);
