using Introspect.Hypervisor;
using Introspect.Rules.Running;

namespace Introspect.Rules.Testing;

/// <summary>A domain that is nothing but what a test file says of it.</summary>
internal sealed class TestDomain(DomainInfo info, IReadOnlyList<(ulong Address, byte[] Bytes)> contents) : IDomain, IGuestMemory, IHasNoPageTables
{
    private bool _isPaused;

    public DomainId Id => info.Id;

    public IGuestMemory Memory => this;

    public DomainInfo GetInfo() => _isPaused ? info with { State = DomainState.Paused, PauseCount = 1 } : info;

    public void Pause() => _isPaused = true;

    public void Unpause() => _isPaused = false;

    public VcpuState ReadVcpu(VcpuId vcpu) => default;

    public void WriteVcpu(VcpuId vcpu, in VcpuState state)
    {
    }

    public void InjectTrap(VcpuId vcpu, in TrapInjection trap)
    {
    }

    public IMonitor EnableMonitor() => throw new NotSupportedException("the domain of a test has no monitor");

    public RecoveryReport Recover() => new(false, 0, 0, 0);

    public void ReadPhysical(GuestPhysical address, Span<byte> destination)
    {
        if (!TryReadPhysical(address, destination))
        {
            throw new HypervisorException(Errno.EFAULT, $"the test gives no memory at {address}");
        }
    }

    public bool TryReadPhysical(GuestPhysical address, Span<byte> destination)
    {
        for (var i = 0; i < destination.Length; i++)
        {
            if (!TryByte(address.Value + (ulong)i, out destination[i]))
            {
                return false;
            }
        }

        return true;
    }

    public void WritePhysical(GuestPhysical address, ReadOnlySpan<byte> source) => throw new NotSupportedException("rules write no memory");

    /// <summary>Linear addresses are physical ones: page tables would be most of a test.</summary>
    public bool TryTranslate(in AddressSpace space, GuestVirtual address, out GuestPhysical physical)
    {
        physical = new(address.Value);
        return TryByte(address.Value, out _);
    }

    public void ReadVirtual(in AddressSpace space, GuestVirtual address, Span<byte> destination) => ReadPhysical(new(address.Value), destination);

    public void WriteVirtual(in AddressSpace space, GuestVirtual address, ReadOnlySpan<byte> source) => throw new NotSupportedException("rules write no memory");

    public void Dispose()
    {
    }

    private bool TryByte(ulong address, out byte value)
    {
        foreach (var (start, bytes) in contents)
        {
            if (address - start < (ulong)bytes.Length)
            {
                value = bytes[address - start];
                return true;
            }
        }

        value = 0;
        return false;
    }
}
