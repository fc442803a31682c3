using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;

namespace Introspect.Hypervisor.Core;

/// <summary>Forks, as a toolstack makes them.</summary>
internal sealed partial class CoreDomain
{
    /// <inheritdoc/>
    public IDomain Fork(ForkOptions? options = null)
    {
        options ??= new ForkOptions();
        var child = new DomainId(CreateLike(_calls.GetDomainInfo(Number), options));
        try
        {
            if (options.Name.Length != 0)
            {
                ToolstackCalls.Check(_calls.Toolstack.SetDomainName(child.Value, options.Name), $"naming domain {child} '{options.Name}'");
            }

            var fork = new MemSharingOp
            {
                Op = MemSharingOperation.Fork,
                Domain = child.Value,
                ForkParent = Number,
                ForkFlags = (ushort)((options.AllowIommu ? MemSharingOp.ForkWithIommuAllowed : 0)
                    | (options.BlockInterrupts ? MemSharingOp.ForkBlockInterrupts : 0)),
            };
            ToolstackCalls.Check(_calls.TrySharing(ref fork), $"making domain {child} a fork of domain {Id}");
            return new CoreDomain(_calls, child);
        }
        catch
        {
            _calls.Domctl(DomctlCommand.DestroyDomain, child.Value, $"destroying domain {child}");
            throw;
        }
    }

    /// <inheritdoc/>
    public void ResetFork(bool state, bool memory)
    {
        var reset = new MemSharingOp
        {
            Op = MemSharingOperation.ForkReset,
            Domain = Number,
            ForkFlags = (ushort)((state ? MemSharingOp.ForkResetState : 0) | (memory ? MemSharingOp.ForkResetMemory : 0)),
        };
        ToolstackCalls.Check(_calls.TrySharing(ref reset), $"resetting fork {Id}");
        InvalidateMemory();
    }

    /// <inheritdoc/>
    public void Destroy()
    {
        InvalidateMemory();
        _calls.Domctl(DomctlCommand.DestroyDomain, Number, $"destroying domain {Id}");
    }

    // A fork has its parent's shape: as many vCPUs, the same vendor and devices.
    private ushort CreateLike(in DomctlGetDomainInfo parent, ForkOptions options)
    {
        var create = ToolstackCalls.Domctl(DomctlCommand.CreateDomain, 0);
        create.CreateDomain.Flags = CreateDomainFlags.Hvm | CreateDomainFlags.Hap;
        create.CreateDomain.MaxVcpus = unchecked(parent.MaxVcpuId + 1);
        create.CreateDomain.MaxEvtchnPort = 1023;
        create.CreateDomain.MaxGrantFrames = 64;
        create.CreateDomain.MaxMaptrackFrames = 1024;
        create.CreateDomain.GrantOpts = 1;
        create.CreateDomain.SsidRef = parent.SsidRef;
        create.CreateDomain.Arch = parent.ArchConfig;

        // But it is a copy to try things out on, and manages neither the machine nor others.
        create.CreateDomain.Arch.MiscFlags &= ~(CoreDomainFlags.Control | CoreDomainFlags.Hardware);
        DomainHandle.Write(ref create.CreateDomain, options.Uuid ?? Guid.NewGuid());
        _calls.Call(ref create, default, $"creating a domain for a fork of domain {Id}");
        return create.Domain;
    }

    private static DomainId? ParentOf(ToolstackCalls calls, in DomctlGetDomainInfo info)
    {
        var question = new MemSharingOp { Op = MemSharingOperation.CoreForkParent, Domain = info.Domain };
        return calls.TrySharing(ref question) == Errno.None && question.ForkParent != SpecialDomain.Invalid
            ? new DomainId(question.ForkParent)
            : null;
    }
}
