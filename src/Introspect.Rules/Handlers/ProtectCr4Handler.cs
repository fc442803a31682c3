using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Handlers;

/// <summary>
/// Denies writes of CR4 that clear SMEP or SMAP, as an exploit does that is about to run or read user memory from
/// the kernel. Switching them on, and every other bit, is left to the guest.
/// </summary>
public sealed class ProtectCr4Handler : IEventHandler
{
    private const ulong Smep = 1UL << 20;
    private const ulong Smap = 1UL << 21;

    /// <inheritdoc/>
    public string Name => "protect-cr4";

    /// <inheritdoc/>
    public void Subscribe(SubscriptionBuilder subscription)
    {
        ArgumentNullException.ThrowIfNull(subscription);
        subscription.ControlRegister(ControlRegisterIndex.Cr4, Smep | Smap, mayDeny: true);
    }

    /// <inheritdoc/>
    public Verdict Handle(ref readonly VmEvent request, ref HandlerContext context)
    {
        var cleared = request.WriteCtrlreg.OldValue & ~request.WriteCtrlreg.NewValue & (Smep | Smap);
        return cleared != 0 ? Verdict.Deny : Verdict.Pass;
    }
}
