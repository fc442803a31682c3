using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor;

/// <summary>Who may use a domain's altp2m views (<c>HVM_PARAM_ALTP2M</c>, <c>XEN_ALTP2M_*</c>).</summary>
public enum AltP2mUse
{
    /// <summary>Nobody.</summary>
    Disabled = 0,

    /// <summary>The guest itself and its toolstack.</summary>
    Mixed = 1,

    /// <summary>The toolstack alone.</summary>
    External = 2,

    /// <summary>The toolstack; the guest may ask to be told of violations, after which its VMFUNC works, too.</summary>
    Limited = 3,
}

/// <summary>
/// A domain's altp2m views: further second-level tables beside its own, in which pages can have other rights and
/// frames can lead to other pages. Every vCPU is in one of them; a response with ALTERNATE_P2M moves one vCPU, and
/// <see cref="SwitchTo"/> all of them. Frames that a view has nothing of its own for follow the host table.
/// </summary>
public interface IAltp2m
{
    /// <summary>Who may use views.</summary>
    AltP2mUse Use { get; }

    /// <summary>Allows views. It can be done once for a domain, and not be taken back.</summary>
    /// <exception cref="HypervisorException">EEXIST: another use is set already.</exception>
    void Allow(AltP2mUse use);

    /// <summary>Views are on: every vCPU is in one.</summary>
    /// <exception cref="HypervisorException">EOPNOTSUPP: the hypervisor has none for this domain (SVM); EINVAL: not allowed, see <see cref="Allow"/>.</exception>
    bool IsActive { get; }

    /// <summary>Switches views on, with every vCPU in view 0, or off, which ends all of them.</summary>
    /// <exception cref="HypervisorException">As for <see cref="IsActive"/>.</exception>
    void SetActive(bool on);

    /// <summary>Makes a view.</summary>
    /// <param name="defaultAccess">The view's default, which Xen 4.17 keeps and tells; pages have the host table's rights until they are set.</param>
    /// <exception cref="HypervisorException">EINVAL: there are as many as there can be (10 in Xen 4.17); EOPNOTSUPP: views are off.</exception>
    ViewId Create(MemoryAccess defaultAccess = MemoryAccess.Rwx);

    /// <summary>Ends a view.</summary>
    /// <exception cref="HypervisorException">EBUSY: it is view 0, a vCPU is in it, or there is none of that number.</exception>
    void Destroy(ViewId view);

    /// <summary>Puts every vCPU into a view.</summary>
    /// <exception cref="HypervisorException">EINVAL: there is none of that number, or it is not visible.</exception>
    void SwitchTo(ViewId view);

    /// <summary>The view that a vCPU is in.</summary>
    /// <exception cref="HypervisorException">EINVAL: no such vCPU; EOPNOTSUPP: views are off.</exception>
    ViewId GetView(VcpuId vcpu);

    /// <summary>Sets the rights of a page in a view; view 0 means the host table. A frame without RAM takes none.</summary>
    /// <exception cref="HypervisorException">EINVAL: no such view or access.</exception>
    void SetAccess(ViewId view, Gfn gfn, MemoryAccess access);

    /// <summary>Sets the rights of pages, one access for each.</summary>
    /// <exception cref="HypervisorException">EINVAL: no such view or access; those before it stay set.</exception>
    /// <exception cref="ArgumentException">The lists differ in length.</exception>
    void SetAccess(ViewId view, ReadOnlySpan<Gfn> gfns, ReadOnlySpan<MemoryAccess> accesses);

    /// <summary>Reads the rights of a page.</summary>
    /// <exception cref="HypervisorException">EINVAL: no such view; ESRCH: the view has no entry for it yet.</exception>
    MemoryAccess GetAccess(ViewId view, Gfn gfn);

    /// <summary>Makes a frame of a view lead to the page of another frame.</summary>
    /// <exception cref="HypervisorException">EINVAL: no such view; ESRCH: one of the frames has no RAM.</exception>
    void Remap(ViewId view, Gfn gfn, Gfn target);

    /// <summary>Makes a frame of a view lead to its own page again, with the host table's rights.</summary>
    /// <exception cref="HypervisorException">EINVAL: no such view.</exception>
    void Restore(ViewId view, Gfn gfn);

    /// <summary>Sets whether a view can be switched to, by <see cref="SwitchTo"/> and by the guest's VMFUNC.</summary>
    /// <exception cref="HypervisorException">EINVAL: no such view.</exception>
    void SetVisible(ViewId view, bool visible);

    /// <summary>Sets whether violations of pages are kept from the guest's #VE handler, which they are unless told otherwise.</summary>
    /// <param name="view">The view; 0 means the host table.</param>
    /// <param name="first">First frame.</param>
    /// <param name="last">Last frame.</param>
    /// <param name="suppress">Keep them from it.</param>
    /// <exception cref="HypervisorException">EINVAL: no such view; ESRCH: the first error of a frame without RAM.</exception>
    void SetSuppressVe(ViewId view, Gfn first, Gfn last, bool suppress);

    /// <summary>Reads whether violations of a page are kept from the guest.</summary>
    /// <exception cref="HypervisorException">EINVAL: no such view; ESRCH: the view has no entry for it yet.</exception>
    bool GetSuppressVe(ViewId view, Gfn gfn);

    /// <summary>Lets a vCPU take #VE, told in a page of the guest's. From then on VMFUNC switches its views, for as long as views are on.</summary>
    /// <exception cref="HypervisorException">EINVAL: no such vCPU, or no RAM there; EEXIST: it has a page already.</exception>
    void EnableNotify(VcpuId vcpu, Gfn page);

    /// <summary>Ends #VE on a vCPU; VMFUNC stays, as on Xen.</summary>
    /// <exception cref="HypervisorException">EINVAL: no such vCPU.</exception>
    void DisableNotify(VcpuId vcpu);
}
