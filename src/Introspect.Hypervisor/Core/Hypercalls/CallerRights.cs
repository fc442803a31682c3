using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;

namespace Introspect.Hypervisor.Core.Hypercalls;

/// <summary>What a call asks of its caller (<c>xsm_default_t</c>).</summary>
internal enum CallRight
{
    /// <summary>The domain itself may, and who controls it (<c>XSM_TARGET</c>).</summary>
    Target,

    /// <summary>Who emulates devices for the domain may, which on the core is who controls it (<c>XSM_DM_PRIV</c>).</summary>
    DeviceModel,

    /// <summary>The xenstore domain may, and who controls it (<c>XSM_XS_PRIV</c>).</summary>
    Xenstore,

    /// <summary>Who controls it may (<c>XSM_PRIV</c>).</summary>
    Control,
}

/// <summary>
/// The one place where it is decided whether a caller may do something to a domain, for a toolstack's calls and for
/// guests'. Xen's default policy (<c>xsm_default_action</c>), in Xen's order: is there such a domain, then the caller's
/// rights over it, and only then anything that would tell of the domain.
/// </summary>
internal static class CallerRights
{
    /// <summary>Whether a caller has a right over a domain that is there, or over the machine.</summary>
    /// <returns>EPERM: it has not.</returns>
    public static Errno Check(in ToolstackCaller caller, ushort? target, CallRight right) =>
        caller.IsControl
        || (right == CallRight.Target && target == caller.DomainId)
        || (right == CallRight.Xenstore && caller.IsXenstore)
            ? Errno.None
            : Errno.EPERM;

    /// <summary>Whether there is a domain, and whether the caller has a right over it.</summary>
    /// <returns>ESRCH: there is none; EPERM: it has not.</returns>
    public static Errno Check(in ToolstackCaller caller, ushort target, bool exists, CallRight right) =>
        exists ? Check(caller, target, right) : Errno.ESRCH;

    /// <summary>Finds a domain over which the caller has a right.</summary>
    /// <returns>ESRCH: there is none; EPERM: the caller has not that right, and <paramref name="domain"/> is null.</returns>
    public static Errno Find(Machine machine, in ToolstackCaller caller, ushort id, CallRight right, out Domain? domain)
    {
        domain = machine.Find(id);
        var refused = Check(caller, id, domain is not null, right);
        if (refused != Errno.None)
        {
            domain = null;
        }

        return refused;
    }

    /// <summary>Finds a domain that is neither the caller's own nor about to go (<c>rcu_lock_live_remote_domain_by_id</c>).</summary>
    /// <returns>ESRCH, EPERM as <see cref="Find"/>; EPERM: it is the caller's own; EINVAL: it is being torn down.</returns>
    public static Errno FindLiveOther(Machine machine, in ToolstackCaller caller, ushort id, CallRight right, out Domain? domain)
    {
        var refused = Find(machine, caller, id, right, out domain);
        return refused != Errno.None ? refused
            : id == caller.DomainId ? Errno.EPERM
            : domain!.IsDying ? Errno.EINVAL
            : Errno.None;
    }
}
