using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Core.Policies;
using Introspect.Hypervisor.Core.Xenstore;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>What a machine is made with.</summary>
/// <param name="CreatePlatform">Makes a new domain's platform: devices, console, clock and the CPUs of its vCPUs.</param>
/// <param name="MemoryReservation">Bytes of machine address space.</param>
internal sealed record MachineOptions(
    Func<Domain, IDomainPlatform> CreatePlatform,
    long MemoryReservation = MachineMemory.DefaultReservation)
{
    /// <summary>Where monitoring differs from Xen 4.17's.</summary>
    public MonitoringOptions Monitoring { get; init; } = MonitoringOptions.Default;

    /// <summary>
    /// The domain that takes over the role of the hardware domain when it is created (<c>hardware_dom=</c>). Null: the
    /// boot domain keeps it, unless a domain is created with the role.
    /// </summary>
    public DomainId? HardwareDomain { get; init; }
}

/// <summary>The hypervisor itself: its memory and its domains.</summary>
internal sealed partial class Machine : IDisposable
{
    private readonly Lock _lock = new();
    private readonly SortedDictionary<ushort, Domain> _domains = [];
    private ushort _rover;

    public Machine(MachineOptions options)
    {
        Options = options;
        Hardware = new(options.HardwareDomain);
        BootDomain = new(Hardware);
        Memory = new(options.MemoryReservation);
    }

    /// <summary>What it was made with.</summary>
    public MachineOptions Options { get; }

    /// <summary>Who has the role of the hardware domain.</summary>
    public HardwareRole Hardware { get; }

    /// <summary>The domain that is there from the start, with the toolstack in it. It is not among <see cref="Domains"/>.</summary>
    public BootDomain BootDomain { get; }

    /// <summary>Machine memory.</summary>
    public MachineMemory Memory { get; }

    /// <summary>What its domains tell each other and are told.</summary>
    public XenStore Store { get; } = new();

    /// <summary>
    /// Held around every operation that changes a domain as a whole, as Xen's domctl lock is: such operations come
    /// one after the other.
    /// </summary>
    public Lock ControlLock { get; } = new();

    /// <summary>
    /// Held while a domain becomes a fork, is reset to its parent or is torn down. A monitor's response can ask for a
    /// reset, outside the control lock. vCPUs do not take it.
    /// </summary>
    public Lock ForkLock { get; } = new();

    /// <summary>A domain shut down, or was torn down. On whichever thread did it, which is not to be kept waiting.</summary>
    public event Action<Domain>? DomainEnded;

    /// <summary>Tells that a domain shut down.</summary>
    public void NoteEnd(Domain domain) => DomainEnded?.Invoke(domain);

    /// <summary>The domains that exist, by number.</summary>
    public IReadOnlyList<Domain> Domains
    {
        get
        {
            lock (_lock)
            {
                return [.. _domains.Values];
            }
        }
    }

    /// <summary>The domain of a number, or null. One that was torn down and is kept for its forks' sake is only listed.</summary>
    public Domain? Find(ushort id)
    {
        lock (_lock)
        {
            return _domains.GetValueOrDefault(id) is { IsGone: false } domain ? domain : null;
        }
    }

    /// <summary>Creates a domain, paused once by the control tools, as Xen does.</summary>
    /// <param name="wanted">Number; 0 or a reserved one lets the machine choose.</param>
    /// <param name="config">What the toolstack asked for.</param>
    /// <param name="vendor">Vendor personality.</param>
    /// <param name="altP2mViews">Views that it may have.</param>
    /// <param name="roles">Roles that it is to have.</param>
    /// <exception cref="HypervisorException">
    /// EEXIST: the number is taken; ENOMEM: none is left; EINVAL: another domain took over the role of the hardware domain;
    /// ENODEV: the machine has ended.
    /// </exception>
    public Domain CreateDomain(
        ushort wanted,
        in DomctlCreateDomain config,
        CpuVendor vendor,
        int altP2mViews = AltP2m.DefaultViews,
        DomainRoles roles = DomainRoles.None)
    {
        CheckRuns();
        ushort id;
        lock (_lock)
        {
            id = ChooseId(wanted);
        }

        // Numbers are only chosen under the control lock, so that this one is still free below.
        var takesHardware = Hardware.Concerns(new(id), roles);
        if (takesHardware)
        {
            Hardware.CheckFree(new(id));
        }

        var domain = new Domain(this, new DomainId(id), config, VendorPersonality.Of(vendor), altP2mViews, roles);
        try
        {
            // As on Xen before its parts are made: they look at the role.
            if (takesHardware)
            {
                Hardware.Take(domain);
            }

            domain.AttachPlatform(Options.CreatePlatform(domain));
        }
        catch
        {
            Hardware.GiveBack(domain);
            domain.Destroy();
            throw;
        }

        lock (_lock)
        {
            _domains.Add(id, domain);
        }

        return domain;
    }

    /// <summary>Takes a domain out and tears it down.</summary>
    public void DestroyDomain(Domain domain)
    {
        if (domain.IsGone)
        {
            return; // it goes with its last fork
        }

        var parent = domain.Parent;
        domain.Destroy();
        lock (_lock)
        {
            RemoveWithoutForks(domain);
            if (parent is { IsGone: true })
            {
                RemoveWithoutForks(parent);
            }
        }

        NoteEnd(domain);
    }

    /// <summary>Has other domains than one forget what they decoded of a page that they had before, and may have again.</summary>
    public void DropCodeElsewhere(Domain owner, ulong machinePage)
    {
        ReadOnlySpan<ulong> pages = [machinePage];
        foreach (var domain in Domains)
        {
            if (domain != owner)
            {
                foreach (var vcpu in domain.Vcpus)
                {
                    vcpu.PagesWritten(pages);
                }
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        WaitForEnd();
        lock (ControlLock)
        {
            foreach (var domain in Domains)
            {
                DestroyDomain(domain);
            }
        }

        Memory.Dispose();
    }

    private void RemoveWithoutForks(Domain domain)
    {
        if (domain.ForkCount == 0)
        {
            _domains.Remove(domain.Id.Value);
        }
    }

    private ushort ChooseId(ushort wanted)
    {
        if (wanted is > 0 and < DomainId.FirstReserved)
        {
            return _domains.ContainsKey(wanted)
                ? throw new HypervisorException(Errno.EEXIST, $"there is a domain {wanted} already")
                : wanted;
        }

        for (var tried = 0; tried < DomainId.FirstReserved; tried++)
        {
            _rover = (ushort)(_rover + 1 >= DomainId.FirstReserved ? 1 : _rover + 1);
            if (!_domains.ContainsKey(_rover))
            {
                return _rover;
            }
        }

        throw new HypervisorException(Errno.ENOMEM, "every domain number is taken");
    }
}
