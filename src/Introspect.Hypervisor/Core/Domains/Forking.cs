using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.State;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>Forking a domain and resetting a fork (Xen's <c>fork</c> and <c>mem_sharing_fork_reset</c>), arguments checked.</summary>
internal static class Forking
{
    // What Xen copies itself, so that a fork begins with them.
    private static readonly uint[] CopiedPages =
        [HvmParam.StorePfn, HvmParam.IoreqPfn, HvmParam.BufIoreqPfn, HvmParam.ConsolePfn];

    /// <summary>Makes a domain a fork of another one, or gives a fork its parent's state again.</summary>
    /// <returns>EBUSY: no control tool paused the child, or it is another one's fork.</returns>
    public static Errno Fork(Domain child, Domain parent)
    {
        if (child.ControllerPauseCount == 0)
        {
            return Errno.EBUSY;
        }

        using var _ = child.Machine.ForkLock.EnterScope();
        if (child.Parent is not null && child.Parent != parent)
        {
            return Errno.EBUSY;
        }

        if (child.Parent is null)
        {
            child.JoinParent(parent);
        }

        var error = Errno.EINVAL;
        try
        {
            child.CreateVcpus();
            error = CopyState(child, parent);
            child.Physmap.RaiseMaxMappedGfn(parent.Physmap.MaxMappedGfn);
            return error;
        }
        finally
        {
            if (error != Errno.None)
            {
                child.LeaveParent();
            }
        }
    }

    /// <summary>Takes a fork back to its parent's state, memory or both. Any thread but a vCPU's.</summary>
    /// <returns>ENOSYS: no fork; EINVAL: the parent was destroyed, and has nothing to go back to.</returns>
    public static Errno Reset(Domain child, bool state, bool memory)
    {
        using var _ = child.Machine.ForkLock.EnterScope();
        if (child.Parent is not { } parent)
        {
            return Errno.ENOSYS;
        }

        if (parent.IsGone)
        {
            return Errno.EINVAL;
        }

        child.Pause();
        try
        {
            if (memory)
            {
                child.Pages.DropOwn();
            }

            return state ? CopyState(child, parent) : Errno.None;
        }
        finally
        {
            child.Unpause();
        }
    }

    private static Errno CopyState(Domain child, Domain parent)
    {
        // What the child's devices would still do of their own accord must not come behind what is copied.
        child.Platform.BeforeStateCopy();
        if (CopyParameters(child, parent) is var refused and not Errno.None)
        {
            return refused;
        }

        foreach (var index in CopiedPages)
        {
            if (parent.GetParam(index) is var gfn and not 0)
            {
                child.Pages.TryCopyFrom(parent, gfn);
            }
        }

        CopySharedInfo(child, parent);
        child.Platform.CopyPages(parent.Platform);
        return DomainStateCopy.Copy(parent, child);
    }

    // As on Xen, a parameter that the parent does not have stays.
    private static Errno CopyParameters(Domain child, Domain parent)
    {
        for (uint index = 0; index < HvmParam.Count; index++)
        {
            var value = parent.GetParam(index);
            var before = child.GetParam(index);
            if (value == 0 || before == value)
            {
                continue;
            }

            child.SetParam(index, value);
            if (child.Platform.HvmParamSet(index, value) is var refused and not Errno.None)
            {
                child.SetParam(index, before); // it has another one that cannot change
                return refused;
            }
        }

        return Errno.None;
    }

    private static void CopySharedInfo(Domain child, Domain parent)
    {
        var memory = parent.Machine.Memory;
        memory.RestOfPage(parent.SharedInfoAddress).CopyTo(memory.RestOfPage(child.SharedInfoAddress));
        if (child.SharedInfoGfn == parent.SharedInfoGfn)
        {
            return;
        }

        if (child.SharedInfoGfn is { } before)
        {
            child.Physmap.Unmap(before);
        }

        if (parent.SharedInfoGfn is { } gfn)
        {
            child.MapSharedInfo(gfn);
        }
    }
}
