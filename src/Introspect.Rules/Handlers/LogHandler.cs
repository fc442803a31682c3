using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Handlers;

/// <summary>
/// Has no opinion on any event and sees them all, so that each becomes a record: subscribing is its whole work.
/// </summary>
public sealed class LogHandler : IEventHandler
{
    private readonly Action<SubscriptionBuilder> _subscribe;

    /// <summary>Logs what can be logged at a bearable rate; what the hypervisor cannot send is left out.</summary>
    public LogHandler()
        : this(SubscribeToUsual)
    {
    }

    /// <summary>Logs chosen events.</summary>
    /// <param name="subscribe">Chooses them.</param>
    public LogHandler(Action<SubscriptionBuilder> subscribe)
    {
        ArgumentNullException.ThrowIfNull(subscribe);
        _subscribe = subscribe;
    }

    /// <summary>MSRs that an operating system sets at boot and an attacker might later: SYSENTER_*, EFER, STAR, LSTAR, CSTAR and SFMASK.</summary>
    public static ReadOnlySpan<uint> UsualMsrs => [0x174, 0x175, 0x176, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084];

    /// <inheritdoc/>
    public string Name => "log";

    /// <inheritdoc/>
    public void Subscribe(SubscriptionBuilder subscription)
    {
        ArgumentNullException.ThrowIfNull(subscription);
        _subscribe(subscription);
        subscription.ObserveDecided();
    }

    /// <inheritdoc/>
    public Verdict Handle(ref readonly VmEvent request, ref HandlerContext context) => Verdict.Pass;

    private static void SubscribeToUsual(SubscriptionBuilder subscription)
    {
        subscription
            .ControlRegister(ControlRegisterIndex.Cr0, sync: false, optional: true)
            .ControlRegister(ControlRegisterIndex.Cr3, sync: false, optional: true)
            .ControlRegister(ControlRegisterIndex.Cr4, sync: false, optional: true)
            .ControlRegister(ControlRegisterIndex.Xcr0, sync: false, optional: true)
            .Cpuid(optional: true)
            .SoftwareBreakpoint(optional: true)
            .DebugException(optional: true)
            .GuestRequest(sync: false, optional: true);
        foreach (var msr in UsualMsrs)
        {
            subscription.Msr(msr, optional: true);
        }
    }
}
