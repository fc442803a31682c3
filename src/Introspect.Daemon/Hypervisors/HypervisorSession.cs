using Introspect.Daemon.Cli;
using Introspect.Daemon.Symbols;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Hypervisors;

/// <summary>What guests write to their consoles. Readers do not take from each other: each has its position.</summary>
internal interface IConsoleSource
{
    /// <summary>Copies what a domain wrote since <paramref name="position"/>, and moves the position on.</summary>
    /// <returns>Bytes copied; 0 when there is nothing new or the domain is gone.</returns>
    int Read(DomainId domain, ref ulong position, Span<byte> destination);
}

/// <summary>An open hypervisor with what belongs to the guest that was built on it, if one was.</summary>
internal sealed class HypervisorSession : IDisposable
{
    private readonly Action? _start;
    private readonly IDisposable[] _owned;

    /// <summary>Makes a session.</summary>
    /// <param name="hypervisor">The hypervisor, which the session owns.</param>
    /// <param name="built">The domain that was built, paused.</param>
    /// <param name="console">The domains' consoles, where they can be read.</param>
    /// <param name="symbols">Symbols of the image that was built.</param>
    /// <param name="demo">What to watch on the demo guest, where it was built.</param>
    /// <param name="start">Lets the built domain run.</param>
    /// <param name="owned">What else goes with the session, after the hypervisor.</param>
    public HypervisorSession(
        IHypervisor hypervisor,
        DomainId? built = null,
        IConsoleSource? console = null,
        ISymbolSource? symbols = null,
        DemoPlan? demo = null,
        Action? start = null,
        params IDisposable[] owned) =>
        (Hypervisor, Built, Console, Symbols, Demo, _start, _owned) = (hypervisor, built, console, symbols, demo, start, owned);

    /// <summary>The hypervisor.</summary>
    public IHypervisor Hypervisor { get; }

    /// <summary>The domain that was built for this session, not started yet.</summary>
    public DomainId? Built { get; }

    /// <summary>The domains' consoles, where they can be read.</summary>
    public IConsoleSource? Console { get; }

    /// <summary>Symbols of the image that was built.</summary>
    public ISymbolSource? Symbols { get; }

    /// <summary>Where an address of the image that was built was loaded, for one that has no page tables yet.</summary>
    public Func<ulong, GuestPhysical?>? LoadAddress { get; init; }

    /// <summary>What is wrong with the image that was built and did not keep it from being so, in one line each.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>What to watch on the demo guest, where that was built.</summary>
    public DemoPlan? Demo { get; }

    /// <summary>Completes with how the machine ended, in one line, where it is one that can.</summary>
    public Task<string> MachineEnd { get; init; } = new TaskCompletionSource<string>().Task;

    /// <summary>Somebody is connected, or a domain is there or is being built anew, where others can reach the domains.</summary>
    public Func<bool> IsInUse { get; init; } = static () => false;

    /// <summary>Lets nobody reach the domains any more, unless they are in use.</summary>
    public Func<bool> TryClose { get; init; } = static () => true;

    /// <summary>Lets the built domain run. The monitor is attached before, so that the first instruction is seen.</summary>
    public void Start() => _start?.Invoke();

    /// <summary>Opens a domain as a user named it.</summary>
    /// <exception cref="UserError">There is none.</exception>
    public IDomain OpenDomain(DomainRef domain)
    {
        try
        {
            return Hypervisor.Open(domain);
        }
        catch (HypervisorException e) when (e.Error == Errno.ESRCH)
        {
            throw UserError.Failure($"domain '{domain}': there is none{Suggestion.For(domain.ToString(), Hypervisor.ListDomains().Select(d => d.Name))}; 'introspect list' shows those that are there", e);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Hypervisor.Dispose();
        foreach (var owned in _owned)
        {
            owned.Dispose();
        }
    }
}

/// <summary>What of the demo guest is worth watching beside its events: it tells where it does things.</summary>
/// <param name="WatchedPage">The page that it reads, writes and executes for the watcher's sake.</param>
/// <param name="StepStart">Where the sequence begins that is worth stepping through.</param>
/// <param name="StepEnd">The first address behind that sequence.</param>
internal sealed record DemoPlan(GuestPhysical WatchedPage, ulong StepStart, ulong StepEnd);

/// <summary>Makes sessions. The one place where a hypervisor is created.</summary>
internal interface IHypervisorFactory
{
    /// <summary>Opens the hypervisor and builds the guest that the user asked for.</summary>
    /// <exception cref="Cli.UserError">An image that cannot be booted, a socket that nobody listens on.</exception>
    HypervisorSession Open(HypervisorSpec spec);

    /// <summary>Holds domains in this process and lets others reach them over a socket.</summary>
    /// <param name="socketPath">Where to listen.</param>
    /// <param name="guest">The guest to build and start, if any.</param>
    /// <param name="features">What of the core is to be otherwise.</param>
    /// <param name="hardwareDomain">The domain that becomes the machine's hardware domain when it is created; null: none does.</param>
    /// <param name="log">Told, in one line each, what went wrong with a client.</param>
    /// <exception cref="Cli.UserError">An image that cannot be booted, a path where something else is.</exception>
    HypervisorSession Serve(string socketPath, HypervisorSpec? guest, CoreFeatures features, DomainId? hardwareDomain, Action<string> log);
}
