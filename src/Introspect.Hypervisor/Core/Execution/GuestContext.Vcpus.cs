using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Hypercalls.Guest;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>What hypercalls do with the guest's vCPUs.</summary>
internal sealed partial class GuestContext
{
    private const int TimeInfoBytes = 32;

    // Guest linear addresses of areas that are kept up to date, per vCPU of this context; 0: none.
    private ulong _timeArea;

    /// <summary>Linear address of the time area; 0: none.</summary>
    public ulong TimeArea
    {
        get => _timeArea;
        set => _timeArea = value;
    }

    /// <inheritdoc/>
    public uint VcpuId => _runner.Vcpu.Id;

    /// <inheritdoc/>
    public uint VcpuCount => (uint)_domain.Vcpus.Count;

    /// <inheritdoc/>
    public bool RunstateUpdateFlag
    {
        get => _platform.RunstateUpdateFlag;
        set => _platform.RunstateUpdateFlag = value;
    }

    /// <inheritdoc/>
    public void Yield() => _runner.YieldToOthers();

    /// <inheritdoc/>
    public void Block() => _runner.Block();

    /// <inheritdoc/>
    public void BlockInPoll() => _runner.Block();

    /// <inheritdoc/>
    public bool IsVcpuUp(uint vcpuId) =>
        _domain.FindVcpu(vcpuId) is { } vcpu && (vcpu.Flags & VcpuPauseFlags.Down) == 0;

    /// <inheritdoc/>
    public int InitialiseVcpu(uint vcpuId, in VcpuHvmContext context)
    {
        if (_domain.FindVcpu(vcpuId) is not { } vcpu || vcpu.Runner is not VcpuRunner runner)
        {
            return -(int)Errno.ENOENT;
        }

        return runner.TryInitialise(in context) ? 0 : -(int)Errno.EEXIST;
    }

    /// <inheritdoc/>
    public int BringVcpuUp(uint vcpuId)
    {
        if (_domain.FindVcpu(vcpuId) is not { } vcpu)
        {
            return -(int)Errno.ENOENT;
        }

        if (!vcpu.IsInitialised)
        {
            return -(int)Errno.EINVAL;
        }

        vcpu.ClearFlag(VcpuPauseFlags.Down);
        return 0;
    }

    /// <inheritdoc/>
    public void TakeVcpuDown(uint vcpuId) => (_domain.FindVcpu(vcpuId)?.Runner as VcpuRunner)?.TakeDown();

    /// <inheritdoc/>
    public Runstate ReadRunstate(uint vcpuId) => (_domain.FindVcpu(vcpuId)?.Runner as VcpuRunner)?.Runstate.Read() ?? default;

    /// <inheritdoc/>
    public int MoveVcpuInfo(uint vcpuId, ulong gfn, uint offset)
    {
        if (_platform.HasRegisteredVcpuInfo(vcpuId))
        {
            return -(int)Errno.EINVAL;
        }

        // As on Xen the guest finds in the new place what it had in the old one.
        Span<byte> before = stackalloc byte[SharedInfoLayout.VcpuInfoSize];
        before.Clear();
        if (vcpuId < SharedInfo.LegacyMaxVcpus)
        {
            _platform.SharedInfo.Slice((int)vcpuId * SharedInfoLayout.VcpuInfoSize, SharedInfoLayout.VcpuInfoSize).CopyTo(before);
        }

        if (!_platform.TryRegisterVcpuInfo(vcpuId, gfn, offset, before))
        {
            return -(int)Errno.EINVAL;
        }

        RefreshTime(vcpuId);
        return 0;
    }

    /// <inheritdoc/>
    public void RegisterRunstateArea(uint vcpuId, ulong linearAddress, bool is64)
    {
        if (vcpuId == VcpuId)
        {
            WriteRunstate(linearAddress, is64);
        }
    }

    /// <inheritdoc/>
    public void RegisterTimeArea(uint vcpuId, ulong linearAddress)
    {
        if (_domain.FindVcpu(vcpuId)?.Runner is VcpuRunner runner)
        {
            runner.Guest._timeArea = linearAddress;
            runner.MarkTimeStale();
        }
    }

    /// <inheritdoc/>
    public void RefreshTime(uint vcpuId) => (_domain.FindVcpu(vcpuId)?.Runner as VcpuRunner)?.MarkTimeStale();

    /// <inheritdoc/>
    public void SendNmi(uint vcpuId) => (_domain.FindVcpu(vcpuId)?.Runner as VcpuRunner)?.RaiseNmi();

    /// <inheritdoc/>
    public void SetUpcallVector(uint vcpuId, byte vector) =>
        (_domain.FindVcpu(vcpuId)?.Runner as VcpuRunner)?.ChooseUpcallVector(vector);

    /// <summary>Writes the time to the area that the guest registered beside its vcpu_info.</summary>
    public void WriteTimeArea()
    {
        if (_timeArea != 0)
        {
            Span<byte> record = stackalloc byte[TimeInfoBytes];
            PvClockRecord.Write(record, _runner.Tsc, SystemTime, _platform.Clock.Scale, stable: true);
            _runner.Cpu.CopyToGuest(_timeArea, record);
        }
    }

    private void WriteRunstate(ulong linearAddress, bool is64)
    {
        // struct vcpu_runstate_info: state, (padding), entry time, four counters.
        Span<byte> record = stackalloc byte[is64 ? 48 : 44];
        var runstate = _runner.Runstate.Read();
        var at = is64 ? 8 : 4;
        BitConverter.TryWriteBytes(record, runstate.State);
        ReadOnlySpan<ulong> times = [runstate.EntryTime, runstate.Running, runstate.Runnable, runstate.Blocked, runstate.Offline];
        foreach (var time in times)
        {
            BitConverter.TryWriteBytes(record[at..], time);
            at += 8;
        }

        _runner.Cpu.CopyToGuest(linearAddress, record);
    }
}
