using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.State;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>A vCPU as plain state: its registers, what the guest told the hypervisor of it, and where it spent its time.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct VcpuSaved
{
    public HvmHwCpu Record;
    public CpuRest Rest;
    public MsrState Msrs;
    public RunstateTimes Times;

    /// <summary>Linear address of the time area; 0: none.</summary>
    public ulong TimeArea;

    /// <summary>How far a loop of PAUSEs has come.</summary>
    public ulong PauseDistance;
    public uint Pauses;
    public byte UpcallVector;

    /// <summary>An NMI waits.</summary>
    public byte HasNmi;
    public byte IsInitialised;
    public byte IsBlocked;
    public byte TimeIsStale;

    /// <summary>The vCPU gave its turn away, and was not asked yet.</summary>
    public byte HasYielded;

    // Named, so that they are zero: records are compared and written byte by byte.
    private byte _pad0, _pad1;
    private uint _pad2;
}

/// <summary>The vCPUs of a domain, each with all that makes it go on as its original would.</summary>
internal sealed class VcpuSection(Domain domain) : IHvmContextSection
{
    /// <inheritdoc/>
    public ushort TypeCode => CoreSectionCode.Vcpu;

    /// <inheritdoc/>
    public string Name => "vCPU";

    /// <inheritdoc/>
    public bool IsPerVcpu => true;

    /// <inheritdoc/>
    public int Length { get; } = Marshal.SizeOf<VcpuSaved>();

    /// <inheritdoc/>
    public bool TrySave(uint instance, Span<byte> record)
    {
        if (domain.FindVcpu(instance)?.Runner is not VcpuRunner runner)
        {
            return false;
        }

        runner.Save(out var saved);
        MemoryMarshal.Write(record, in saved);
        return true;
    }

    /// <inheritdoc/>
    public Errno Load(uint instance, ReadOnlySpan<byte> record)
    {
        if (domain.FindVcpu(instance)?.Runner is not VcpuRunner runner)
        {
            return Errno.EINVAL;
        }

        var saved = MemoryMarshal.Read<VcpuSaved>(record);
        if (!runner.CanLoad(in saved))
        {
            return Errno.EINVAL;
        }

        runner.Load(in saved);
        return Errno.None;
    }
}
