using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Hypercalls.Toolstack;

/// <summary>The sysctl operations, and what domctl and sysctl tell of a domain.</summary>
internal static class SystemOperations
{
    private static readonly int InfoBytes = Marshal.SizeOf<DomctlGetDomainInfo>();

    /// <summary><c>XEN_SYSCTL_getdomaininfolist</c>.</summary>
    public static int ListDomains(Machine machine, ref SysctlGetDomainInfoList argument, Span<byte> buffer)
    {
        uint count = 0;
        foreach (var domain in machine.Domains)
        {
            if (domain.Id.Value < argument.FirstDomain)
            {
                continue;
            }

            if (count == argument.MaxDomains)
            {
                break;
            }

            FillInfo(domain, out var info);
            var place = (int)count * InfoBytes;
            if (buffer.Length - place < InfoBytes)
            {
                return LocalToolstack.Negated(Errno.EFAULT);
            }

            MemoryMarshal.Write(buffer[place..], in info);
            count++;
        }

        argument.NumDomains = count;
        return 0;
    }

    /// <summary><c>XEN_SYSCTL_physinfo</c>.</summary>
    public static int PhysicalInfo(Machine machine, out SysctlPhysInfo info)
    {
        var total = machine.Memory.Bytes / MachineMemory.PageSize;
        var used = (ulong)machine.Domains.Sum(static domain => domain.Ram.TotalPages);
        info = new SysctlPhysInfo
        {
            ThreadsPerCore = 1,
            CoresPerSocket = (uint)Environment.ProcessorCount,
            NrCpus = (uint)Environment.ProcessorCount,
            MaxCpuId = (uint)Environment.ProcessorCount - 1,
            NrNodes = 1,
            Capabilities = PhysicalCapabilities.Hvm | PhysicalCapabilities.Hap,
            TotalPages = total,
            FreePages = total - used,
            MaxMfn = total - 1,
        };
        return 0;
    }

    /// <summary>What is told of a domain (<c>getdomaininfo</c>).</summary>
    public static void FillInfo(Domain domain, out DomctlGetDomainInfo info)
    {
        info = new DomctlGetDomainInfo
        {
            Domain = domain.Id.Value,
            MaxVcpuId = DomctlGetDomainInfo.InvalidMaxVcpuId,
            TotPages = (ulong)domain.Ram.TotalPages,
            MaxPages = (ulong)domain.Ram.MaxPages,
            SharedInfoFrame = domain.SharedInfoAddress / MachineMemory.PageSize,
            GpaddrBits = 38,
            PauseCount = (byte)domain.ControllerPauseCount,
            ArchConfig = domain.Config.Arch,
        };

        // A domain can have become the hardware domain by its number, without having been created as one.
        info.ArchConfig.MiscFlags |= CoreDomainFlags.FlagsOf(domain.Roles);
        var flags = DomainInfoFlags.Blocked;
        foreach (var vcpu in domain.Vcpus)
        {
            info.MaxVcpuId = vcpu.Id;
            info.CpuTime += vcpu.NanosecondsRunning;
            if ((vcpu.Flags & VcpuPauseFlags.Down) != 0)
            {
                continue;
            }

            info.NrOnlineVcpus++;
            flags &= (vcpu.Flags & VcpuPauseFlags.Blocked) == 0 ? ~DomainInfoFlags.Blocked : ~DomainInfoFlags.None;
            flags |= vcpu.IsRunning ? DomainInfoFlags.Running : DomainInfoFlags.None;
        }

        info.Flags = (info.NrOnlineVcpus != 0 ? flags : DomainInfoFlags.None)
            | DomainInfoFlags.HvmGuest
            | DomainInfoFlags.Hap
            | (domain.IsDying ? DomainInfoFlags.Dying : DomainInfoFlags.None)
            | (domain.IsShutDown ? DomainInfoFlags.Shutdown : DomainInfoFlags.None)
            | (domain.ControllerPauseCount > 0 ? DomainInfoFlags.Paused : DomainInfoFlags.None)
            | (DomainInfoFlags)((uint)domain.ShutdownReason << DomctlGetDomainInfo.ShutdownShift);
        DomainHandle.Write(ref info, domain.Handle);
    }
}
