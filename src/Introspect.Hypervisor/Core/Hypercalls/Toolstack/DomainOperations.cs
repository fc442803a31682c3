using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.State;

namespace Introspect.Hypervisor.Core.Hypercalls.Toolstack;

/// <summary>The domctl operations of a caller, the interface version checked.</summary>
internal sealed class DomainOperations(Machine machine, ToolstackCaller caller)
{
    private const uint MaxVcpus = 128;

    /// <summary>Finds the domain of an operation, or null where it needs none.</summary>
    /// <returns>ESRCH: there is none; EINVAL: a list of domains does not begin there.</returns>
    public Errno Find(in XenDomctl domctl, out Domain? domain)
    {
        domain = machine.Find(domctl.Domain);
        if (domain is not null)
        {
            return Errno.None;
        }

        switch (domctl.Command)
        {
            case DomctlCommand.CreateDomain:
            case DomctlCommand.VmEventOp when domctl.Domain == SpecialDomain.Invalid && domctl.VmEventOp.Op == VmEventOperation.GetVersion:
                return Errno.None;

            case DomctlCommand.GetDomainInfo when domctl.Domain >= DomainId.FirstReserved:
                return Errno.EINVAL;

            case DomctlCommand.GetDomainInfo:
                // Without such a domain the next one is told: how a toolstack walks the list.
                var first = domctl.Domain;
                domain = machine.Domains.FirstOrDefault(candidate => candidate.Id.Value >= first);
                return domain is null ? Errno.ESRCH : Errno.None;

            default:
                return Errno.ESRCH;
        }
    }

    /// <summary>Whether the caller may do an operation on a domain, or on none, and whether that may be its own.</summary>
    /// <returns>EPERM: it has no right; EPERM or EINVAL: nobody may do this to himself, since he would have to stand still for it.</returns>
    public Errno CheckRights(Domain? domain, in XenDomctl domctl)
    {
        var right = domctl.Command == DomctlCommand.GetDomainInfo ? CallRight.Xenstore : CallRight.Control;
        var refused = CallerRights.Check(caller, domain?.Id.Value, right);
        if (refused != Errno.None || domain?.Id.Value != caller.DomainId)
        {
            return refused;
        }

        return domctl.Command switch
        {
            DomctlCommand.MonitorOp or DomctlCommand.SetAccessRequired => Errno.EPERM,
            DomctlCommand.DestroyDomain or DomctlCommand.PauseDomain or DomctlCommand.ResumeDomain or DomctlCommand.MaxVcpus
                or DomctlCommand.SetHvmContext or DomctlCommand.GetHvmContext or DomctlCommand.GetHvmContextPartial
                or DomctlCommand.VmEventOp or DomctlCommand.VmtraceOp => Errno.EINVAL,
            _ => Errno.None,
        };
    }

    /// <summary>Does one operation of a caller who may, under the control lock; what it gives back is in the structure and in the buffer.</summary>
    public Errno Operate(Domain? domain, ref XenDomctl domctl, Span<byte> buffer)
    {
        if (domctl.Command == DomctlCommand.CreateDomain)
        {
            return Create(ref domctl);
        }

        if (domain is null)
        {
            return Errno.ESRCH;
        }

        switch (domctl.Command)
        {
            case DomctlCommand.GetDomainInfo:
                return GetInfo(domain, ref domctl);
            case DomctlCommand.DestroyDomain:
                machine.DestroyDomain(domain);
                return Errno.None;
            case DomctlCommand.PauseDomain:
                return domain.ControllerPause();
            case DomctlCommand.UnpauseDomain:
                return domain.ControllerUnpause();
            case DomctlCommand.GdbsxPauseVcpu:
                return PauseVcpu(domain, domctl.GdbsxPauseVcpu.Vcpu, static vcpu => vcpu.ControllerPause());
            case DomctlCommand.GdbsxUnpauseVcpu:
                return PauseVcpu(domain, domctl.GdbsxPauseVcpu.Vcpu, static vcpu => vcpu.ControllerUnpause());
            case DomctlCommand.ResumeDomain:
                domain.Resume();
                return Errno.None;
            case DomctlCommand.MaxMem:
                domain.Ram.MaxPages = (long)Math.Min(domctl.MaxMem.MaxMemKb >> 2, uint.MaxValue - 1);
                return Errno.None;
            case DomctlCommand.MaxVcpus:
                return CreateVcpus(domain, domctl.MaxVcpus.Max);
            case DomctlCommand.GetVcpuInfo:
                return GetVcpuInfo(domain, ref domctl.VcpuInfo);
            case DomctlCommand.SetDomainHandle:
                domain.SetHandle(DomainHandle.Read(domctl.SetDomainHandle));
                return Errno.None;
            case DomctlCommand.SetHvmContext:
                return SetContext(domain, domctl.HvmContext, buffer);
            case DomctlCommand.GetHvmContext:
                return GetContext(domain, ref domctl.HvmContext, buffer);
            case DomctlCommand.GetHvmContextPartial:
                return GetContextPartial(domain, ref domctl.HvmContextPartial, buffer);
            case DomctlCommand.VmEventOp:
                return MonitorRingOperations.Operate(domain, ref domctl.VmEventOp);
            case DomctlCommand.MonitorOp:
                return domain.Monitor.Operate(ref domctl.MonitorOp);
            case DomctlCommand.SetAccessRequired:
                domain.Pause();
                domain.Physmap.AccessRequired = domctl.AccessRequired.AccessRequired != 0;
                domain.Unpause();
                return Errno.None;
            case DomctlCommand.SetAddressSize or DomctlCommand.GetAddressSize or DomctlCommand.VmtraceOp:
                return Errno.EOPNOTSUPP;
            default:
                return Errno.ENOSYS;
        }
    }

    // Only on a domain that is paused: so nobody holds single vCPUs of a domain that runs by accident.
    private static Errno PauseVcpu(Domain domain, uint vcpu, Func<Vcpu, Errno> operation) =>
        domain.ControllerPauseCount == 0 ? Errno.EBUSY
        : domain.FindVcpu(vcpu) is { } found ? operation(found)
        : Errno.EINVAL;

    /// <summary>Whether a domain can be created so.</summary>
    /// <returns>EINVAL: something in it cannot be; EOPNOTSUPP: devices that the core does not emulate.</returns>
    public static Errno CheckConfig(in DomctlCreateDomain config)
    {
        const CreateDomainFlags Possible = CreateDomainFlags.Hvm | CreateDomainFlags.Hap | CreateDomainFlags.XsDomain;
        if ((config.Flags & ~Possible) != 0
            || (config.Flags & CreateDomainFlags.Hvm) == 0
            || config.MaxVcpus is 0 or > MaxVcpus
            || (config.Arch.MiscFlags & ~CoreDomainFlags.Known) != 0
            || CoreDomainFlags.AltP2mViewsOf(config.Arch.MiscFlags) > AltP2m.MaxViews)
        {
            return Errno.EINVAL;
        }

        // A PVH domain has a local APIC and nothing else emulated, as on Xen.
        return config.Arch.EmulationFlags == X86EmulationFlags.Lapic ? Errno.None : Errno.EOPNOTSUPP;
    }

    private Errno Create(ref XenDomctl domctl)
    {
        ref var config = ref domctl.CreateDomain;
        if (CheckConfig(in config) is var refused and not Errno.None)
        {
            return refused;
        }

        var flags = config.Arch.MiscFlags;
        var created = machine.CreateDomain(domctl.Domain, config, CoreDomainFlags.VendorOf(flags), CoreDomainFlags.AltP2mViewsOf(flags), CoreDomainFlags.RolesOf(flags));
        domctl.Domain = created.Id.Value;
        return Errno.None;
    }

    private static Errno GetInfo(Domain domain, ref XenDomctl domctl)
    {
        SystemOperations.FillInfo(domain, out domctl.GetDomainInfo);
        domctl.Domain = domain.Id.Value;
        return Errno.None;
    }

    private static Errno CreateVcpus(Domain domain, uint max)
    {
        if (max != domain.MaxVcpus)
        {
            return Errno.EINVAL;
        }

        domain.Machine.CheckRuns();
        domain.Pause();
        domain.CreateVcpus();
        domain.Unpause();
        return Errno.None;
    }

    private static Errno GetVcpuInfo(Domain domain, ref DomctlVcpuInfo info)
    {
        if (info.Vcpu >= domain.MaxVcpus)
        {
            return Errno.EINVAL;
        }

        if (domain.FindVcpu(info.Vcpu) is not { } vcpu)
        {
            return Errno.ESRCH;
        }

        info.Online = (vcpu.Flags & VcpuPauseFlags.Down) == 0 ? (byte)1 : (byte)0;
        info.Blocked = (vcpu.Flags & VcpuPauseFlags.Blocked) != 0 ? (byte)1 : (byte)0;
        info.Running = vcpu.IsRunning ? (byte)1 : (byte)0;
        info.CpuTime = vcpu.NanosecondsRunning;
        info.Cpu = 0;
        return Errno.None;
    }

    private static Errno SetContext(Domain domain, in DomctlHvmContext argument, ReadOnlySpan<byte> buffer)
    {
        if (argument.Size > buffer.Length)
        {
            return Errno.EFAULT;
        }

        domain.Pause();
        try
        {
            return HvmContext.Load(domain, buffer[..(int)argument.Size]);
        }
        finally
        {
            domain.Unpause();
        }
    }

    private static Errno GetContext(Domain domain, ref DomctlHvmContext argument, Span<byte> buffer)
    {
        var size = HvmContext.MaxSize(domain);
        if (argument.Buffer == 0)
        {
            argument.Size = (uint)size;
            return Errno.None;
        }

        if (argument.Size < size)
        {
            return Errno.ENOSPC;
        }

        if (buffer.Length < size)
        {
            return Errno.EFAULT;
        }

        domain.Pause();
        try
        {
            argument.Size = (uint)HvmContext.Save(domain, buffer);
            return Errno.None;
        }
        finally
        {
            domain.Unpause();
        }
    }

    private static Errno GetContextPartial(Domain domain, ref DomctlHvmContextPartial argument, Span<byte> buffer)
    {
        if (HvmContext.Find(domain, argument.Type) is not { } section)
        {
            return Errno.EINVAL;
        }

        var vcpu = section.IsPerVcpu ? domain.FindVcpu(argument.Instance) : null;
        if (section.IsPerVcpu && vcpu is null)
        {
            return Errno.ENOENT;
        }

        Span<byte> record = new byte[section.Length];
        var result = WhileStill(domain, vcpu, section, argument.Instance, record);
        if (result != Errno.None)
        {
            return result;
        }

        if (argument.Buffer != 0)
        {
            if (argument.BufferSize < (ulong)record.Length)
            {
                return Errno.ENOBUFS;
            }

            if (buffer.Length < record.Length)
            {
                return Errno.EFAULT;
            }

            record.CopyTo(buffer);
        }

        argument.BufferSize = (ulong)record.Length;
        return Errno.None;
    }

    private static Errno WhileStill(Domain domain, Vcpu? vcpu, IHvmContextSection section, uint instance, Span<byte> record)
    {
        if (vcpu is null)
        {
            domain.Pause();
        }
        else
        {
            vcpu.Pause();
        }

        try
        {
            return HvmContext.SaveOne(section, instance, record);
        }
        finally
        {
            if (vcpu is null)
            {
                domain.Unpause();
            }
            else
            {
                vcpu.Unpause();
            }
        }
    }
}
