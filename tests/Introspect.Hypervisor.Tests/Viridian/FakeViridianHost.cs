using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Platform.Apic;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Tests.Viridian;

/// <summary>A domain of two vCPUs on a clock of 1 GHz that a test moves: a cycle is a nanosecond, 100 are a unit.</summary>
internal sealed class FakeViridianHost : IViridianHost
{
    public const ulong PagesOfRam = 16;

    private readonly byte[] _memory = new byte[PagesOfRam * Gfn.PageSize];

    public FakeViridianHost(ViridianFeatureSet features, ViridianOptions? options = null, bool withApics = true, ulong frequency = 1_000_000_000, bool followsInstructions = false)
    {
        (TscFrequency, FollowsInstructions) = (frequency, followsInstructions);
        Apics = new LocalApicBus(2);
        Assert.Equal(Errno.None, ViridianDomain.TryCreate(null, features.ToMask(), this, options ?? ViridianOptions.Default, out var domain));
        Domain = domain!;
        Vcpus = [new FakeVcpu(this, 0, withApics), new FakeVcpu(this, 1, withApics)];
    }

    public ViridianDomain Domain { get; }

    public LocalApicBus Apics { get; }

    public FakeVcpu[] Vcpus { get; }

    public ViridianVcpu First => Vcpus[0].Viridian;

    public List<string> Log { get; } = [];

    public CpuVendor Vendor { get; set; } = CpuVendor.Vmx;

    public uint VcpuCount => 2;

    public ulong TscFrequency { get; }

    public bool FollowsInstructions { get; }

    public bool IsHeld { get; set; }

    public ulong Cycles { get; set; }

    /// <summary>The reference time that the guest reads.</summary>
    public ulong Time => Read(Msr.HvTimeRefCount);

    public int HeldPages { get; private set; }

    public ulong ToNanoseconds(ulong cycles) => (ulong)((UInt128)cycles * 1_000_000_000 / TscFrequency);

    public bool TryReadPhysical(ulong gpa, Span<byte> destination)
    {
        if (gpa > (ulong)_memory.Length || (ulong)destination.Length > (ulong)_memory.Length - gpa)
        {
            return false;
        }

        _memory.AsSpan((int)gpa, destination.Length).CopyTo(destination);
        return true;
    }

    public bool TryHoldPage(ulong gfn, out HeldPage page)
    {
        page = default;
        if (gfn >= PagesOfRam)
        {
            return false;
        }

        HeldPages++;
        page = new HeldPage(this, this, gfn, Page(gfn));
        return true;
    }

    public void ReleasePage(object holder, ulong address) => HeldPages--;

    public void DeadlineChanged() => Log.Add("deadline");

    public void KeepCrash() => Log.Add("crash");

    public Span<byte> Page(ulong gfn) => _memory.AsSpan((int)gfn * Gfn.PageSize, Gfn.PageSize);

    public T Load<T>(ulong gpa)
        where T : unmanaged => MemoryMarshal.Read<T>(_memory.AsSpan((int)gpa));

    public void Store<T>(ulong gpa, T value)
        where T : unmanaged => MemoryMarshal.Write(_memory.AsSpan((int)gpa), in value);

    public void Run(bool held)
    {
        IsHeld = held;
        Domain.Follow();
    }

    /// <summary>Time passes, and timers that are due go off.</summary>
    public void Pass(ulong nanoseconds)
    {
        Cycles += nanoseconds;
        Domain.Expire(ToNanoseconds(Cycles));
    }

    public ulong Read(uint msr, int vcpu = 0)
    {
        Assert.True(Vcpus[vcpu].Viridian.TryRead(msr, out var value), $"0x{msr:x} cannot be read");
        return value;
    }

    public void Write(uint msr, ulong value, int vcpu = 0) =>
        Assert.True(Vcpus[vcpu].Viridian.TryWrite(msr, value), $"0x{msr:x} cannot be written");

    /// <summary>A vCPU whose thread is the test's.</summary>
    internal sealed class FakeVcpu : IViridianVcpuHost, ILocalApicHost
    {
        private readonly FakeViridianHost _domain;

        public FakeVcpu(FakeViridianHost domain, uint id, bool withApic)
        {
            _domain = domain;
            Apic = withApic ? domain.Apics.Attach(id, this) : null;
            Apic?.WriteMemory(0xFEE0_00F0, 4, 0x1FF);
            Viridian = domain.Domain.Attach(id, this);
        }

        public LocalApic? Apic { get; }

        public ViridianVcpu Viridian { get; }

        public ulong Cycles => _domain.Cycles;

        ulong ILocalApicHost.Nanoseconds => _domain.ToNanoseconds(_domain.Cycles);

        ulong ILocalApicHost.Timestamp => _domain.Cycles;

        byte ILocalApicHost.DueUpcallVector => 0;

        ulong ILocalApicHost.NanosecondsAt(ulong timestamp) => timestamp;

        /// <summary>What the next entry would deliver: the vector, which is then in service; or null.</summary>
        public byte? TakeInterrupt()
        {
            if (!Apic!.HasRequests || !Apic.TryFindPending(out var vector))
            {
                return null;
            }

            Apic.Acknowledge(vector);
            return vector;
        }

        void IViridianVcpuHost.Wake() => _domain.Log.Add("wake");

        void IViridianVcpuHost.Crash() => _domain.Log.Add("assist crash");

        void ILocalApicHost.Wake()
        {
        }

        void ILocalApicHost.RaiseNmi()
        {
        }

        void ILocalApicHost.RequestInit()
        {
        }

        void ILocalApicHost.RequestStartup(byte vector)
        {
        }

        void ILocalApicHost.Crash()
        {
        }

        void ILocalApicHost.DeadlineChanged()
        {
        }
    }
}
