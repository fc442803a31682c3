namespace Introspect.Hypervisor;

/// <summary>CPU vendor whose virtualisation the hypervisor has or, for the core, plays.</summary>
public enum CpuVendor
{
    /// <summary>Intel VT-x.</summary>
    Vmx,

    /// <summary>AMD-V.</summary>
    Svm,
}

/// <summary>What kind of hypervisor stands behind the seam.</summary>
/// <param name="Name"><c>core</c> or <c>xen</c>.</param>
/// <param name="Version">Version text, for Xen <c>4.17.4</c>.</param>
/// <param name="Connection">How it is reached: <c>in-process</c>, a socket's path, <c>libxenctrl.so.4.17</c>.</param>
public sealed record HypervisorInfo(string Name, string Version, string Connection);

/// <summary>A domain as the toolstack lists it.</summary>
/// <param name="Id">Number.</param>
/// <param name="Name">Name, empty where none is known.</param>
/// <param name="Uuid">UUID (<c>xen_domain_handle_t</c>).</param>
/// <param name="Vendor">Vendor personality.</param>
/// <param name="VcpuCount">Number of vCPUs (<c>max_vcpu_id + 1</c>).</param>
/// <param name="MaxGfn">Highest guest frame number in use.</param>
/// <param name="MemoryBytes">Memory that the domain owns, bytes.</param>
/// <param name="State">What the domain is doing.</param>
/// <param name="PauseCount">Pauses by the control tools which were not yet undone; 0 where the hypervisor does not tell.</param>
public sealed record DomainInfo(
    DomainId Id,
    string Name,
    Guid Uuid,
    CpuVendor Vendor,
    int VcpuCount,
    Gfn MaxGfn,
    ulong MemoryBytes,
    DomainState State,
    int PauseCount)
{
    /// <summary>The domain of which this one is a fork; null where it is none, or the hypervisor does not tell.</summary>
    public DomainId? Parent { get; init; }

    /// <summary>It is the hardware domain, which manages the machine. False where the hypervisor does not tell.</summary>
    public bool IsHardwareDomain { get; init; }

    /// <summary>It is a control domain, which may manage others. False where the hypervisor does not tell.</summary>
    public bool IsControlDomain { get; init; }
}

/// <summary>What a domain is doing.</summary>
public enum DomainState
{
    /// <summary>At least one vCPU can run.</summary>
    Running,

    /// <summary>Every vCPU waits for an event of its own.</summary>
    Blocked,

    /// <summary>Paused by a control tool.</summary>
    Paused,

    /// <summary>Powered off.</summary>
    PowerOff,

    /// <summary>Asked for a reboot.</summary>
    Reboot,

    /// <summary>Suspended.</summary>
    Suspend,

    /// <summary>Crashed.</summary>
    Crash,

    /// <summary>Being torn down.</summary>
    Dying,
}

/// <summary>How a user names a domain: by number, UUID or name.</summary>
public readonly record struct DomainRef
{
    private DomainRef(DomainId? id, Guid? uuid, string? name) => (Id, Uuid, Name) = (id, uuid, name);

    /// <summary>Number, if given so.</summary>
    public DomainId? Id { get; }

    /// <summary>UUID, if given so.</summary>
    public Guid? Uuid { get; }

    /// <summary>Name, if given so.</summary>
    public string? Name { get; }

    /// <summary>Reads a reference as a user types it: digits are a number, a UUID is a UUID, all else a name.</summary>
    public static DomainRef Parse(string text)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(text);
        if (ushort.TryParse(text, System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out var id))
        {
            return new(new DomainId(id), null, null);
        }

        return Guid.TryParseExact(text, "D", out var uuid) ? new(null, uuid, null) : new(null, null, text);
    }

    /// <summary>A reference by number.</summary>
    public static implicit operator DomainRef(DomainId id) => new(id, null, null);

    /// <summary>A reference by number.</summary>
    public static DomainRef FromDomainId(DomainId id) => id;

    /// <summary>True when the reference means this domain.</summary>
    public bool Matches(DomainInfo info)
    {
        ArgumentNullException.ThrowIfNull(info);
        return Id is { } id ? info.Id == id : Uuid is { } uuid ? info.Uuid == uuid : info.Name == Name;
    }

    /// <inheritdoc/>
    public override string ToString() => Id?.ToString() ?? Uuid?.ToString() ?? Name ?? "?";
}

/// <summary>How the set of domains changed.</summary>
public enum DomainChangeKind
{
    /// <summary>The domain is there: it was found at the start or was created.</summary>
    Appeared,

    /// <summary>The domain is gone, or shut down and waiting to be destroyed.</summary>
    Ended,

    /// <summary>The domain has another name: it was given one after it was created, or arrived by migration.</summary>
    Renamed,
}

/// <summary>A change in the set of domains.</summary>
/// <param name="Kind">What happened.</param>
/// <param name="Domain">To which domain.</param>
public sealed record DomainChange(DomainChangeKind Kind, DomainInfo Domain);
