using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.Platform.Apic;

namespace Introspect.Hypervisor.Tests.Platform.Apic;

/// <summary>A vCPU that notes what its APIC asks of it.</summary>
internal sealed class FakeApicHost : ILocalApicHost
{
    private int _wakes;

    public ulong Nanoseconds { get; set; } = 1_000_000;

    /// <summary>Two cycles a nanosecond.</summary>
    public ulong Timestamp => Nanoseconds * 2;

    public byte DueUpcallVector { get; set; }

    public int Wakes => Volatile.Read(ref _wakes);

    public int Nmis { get; private set; }

    public int Inits { get; private set; }

    public List<byte> Startups { get; } = [];

    public int Crashes { get; private set; }

    public int DeadlineChanges { get; private set; }

    public ulong NanosecondsAt(ulong timestamp) => (timestamp + 1) / 2;

    public void Wake() => Interlocked.Increment(ref _wakes);

    public void RaiseNmi() => Nmis++;

    public void RequestInit() => Inits++;

    public void RequestStartup(byte vector) => Startups.Add(vector);

    public void Crash() => Crashes++;

    public void DeadlineChanged() => DeadlineChanges++;
}

/// <summary>A domain's APICs without vCPUs.</summary>
internal sealed class ApicBench
{
    public const ulong Page = 0xFEE0_0000;

    public ApicBench(int count = 1, bool enabled = true, bool x2 = false)
    {
        Bus = new LocalApicBus((uint)count);
        for (var n = 0; n < count; n++)
        {
            Hosts.Add(new FakeApicHost());
            Apics.Add(Bus.Attach((uint)n, Hosts[n]));
            if (x2)
            {
                Apics[n].ChangeBase(Apics[n].Base | MsrIndex.ApicBaseX2);
            }

            if (enabled)
            {
                Write(ApicRegister.SpuriousVector, 0x1FF, n);
            }
        }
    }

    public LocalApicBus Bus { get; }

    public List<LocalApic> Apics { get; } = [];

    public List<FakeApicHost> Hosts { get; } = [];

    public LocalApic Apic => Apics[0];

    public FakeApicHost Host => Hosts[0];

    /// <summary>Reads a register as the guest does, in the mode in which the APIC is.</summary>
    public uint Read(uint register, int vcpu = 0)
    {
        var apic = Apics[vcpu];
        if (!apic.IsX2)
        {
            return apic.ReadMemory(Page + register, 4);
        }

        Assert.True(apic.ReadMsr(0x800 + (register >> 4), out var value));
        return (uint)value;
    }

    public void Write(uint register, uint value, int vcpu = 0)
    {
        var apic = Apics[vcpu];
        if (!apic.IsX2)
        {
            apic.WriteMemory(Page + register, 4, value);
            return;
        }

        Assert.True(apic.WriteMsr(0x800 + (register >> 4), value));
    }

    /// <summary>Sends a message: to a destination in the form of the sender's mode.</summary>
    public void Send(uint command, uint destination = 0, int vcpu = 0)
    {
        if (Apics[vcpu].IsX2)
        {
            Assert.True(Apics[vcpu].WriteMsr(0x830, ((ulong)destination << 32) | command));
            return;
        }

        Write(ApicRegister.CommandHigh, destination << 24, vcpu);
        Write(ApicRegister.CommandLow, command, vcpu);
    }

    public bool IsRequested(byte vector, int vcpu = 0) => IsSet(ApicRegister.InterruptRequest, vector, vcpu);

    public bool IsInService(byte vector, int vcpu = 0) => IsSet(ApicRegister.InService, vector, vcpu);

    /// <summary>The vCPUs on which a vector is requested, as digits.</summary>
    public string WhoHas(byte vector) => string.Concat(Enumerable.Range(0, Apics.Count).Where(n => IsRequested(vector, n)));

    /// <summary>Takes the pending interrupt, or gives null.</summary>
    public byte? Take(int vcpu = 0)
    {
        if (!Apics[vcpu].TryFindPending(out var vector))
        {
            return null;
        }

        Apics[vcpu].Acknowledge(vector);
        return vector;
    }

    public void PassTime(ulong nanoseconds)
    {
        foreach (var host in Hosts)
        {
            host.Nanoseconds += nanoseconds;
        }

        Bus.Expire(Host.Nanoseconds);
    }

    private bool IsSet(uint bitmap, byte vector, int vcpu) =>
        (Read(bitmap + (vector / 32u * 16), vcpu) & (1u << (vector % 32))) != 0;
}
