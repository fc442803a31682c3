using System.Buffers.Binary;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.XenLab.Guest;

namespace Introspect.XenLab.Contract;

/// <summary>A trace guest in a domain of its own, for one check.</summary>
internal sealed class GuestUnderTest : IDisposable
{
    private readonly IContractLab _lab;

    public GuestUnderTest(IContractLab lab, TraceGuestOptions options, string name = "contract")
    {
        _lab = lab;
        Image = TraceGuest.Build(options).Image;
        Name = name;
        Id = lab.Create(name, Image);
        Domain = lab.Hypervisor.Open(Id);
    }

    public byte[] Image { get; }

    public string Name { get; }

    public DomainId Id { get; }

    public IDomain Domain { get; }

    public bool HasEnded => Domain.GetInfo().State is DomainState.PowerOff or DomainState.Reboot or DomainState.Crash or DomainState.Dying;

    public void Start() => _lab.Start(Id);

    public ulong Read(ulong address)
    {
        Span<byte> bytes = stackalloc byte[8];
        Domain.Memory.ReadPhysical(new(address), bytes);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    /// <summary>Exceptions that the guest took, by vector.</summary>
    public ulong Exceptions(int vector) => Read(TraceLayout.Exceptions + ((ulong)vector * 8));

    public void CheckGoesOn(string when)
    {
        var before = Read(TraceLayout.Counter);
        Check.Eventually(() => Read(TraceLayout.Counter) > before + 1, $"the guest goes on {when}");
    }

    /// <summary>
    /// Starts the guest and answers its events as one who has no opinion, or as <paramref name="intervene"/> says, until
    /// enough were there or it ended.
    /// </summary>
    public List<VmEvent> Watch(IMonitor monitor, int count = int.MaxValue, Intervention? intervene = null)
    {
        var events = new List<VmEvent>();
        var deadline = DateTime.UtcNow + Check.Patience;
        Start();

        // Whether it ended is asked first: what it sent before its end is in the ring then.
        while (events.Count < count && (!HasEnded || monitor.UnconsumedRequests > 0))
        {
            Check.True(DateTime.UtcNow < deadline, $"{events.Count} events came, and then none for long");
            monitor.Wait(TimeSpan.FromMilliseconds(100), CancellationToken.None);
            while (events.Count < count && monitor.TryTake(out var request))
            {
                events.Add(request);
                var response = request;
                Answer(ref response);
                intervene?.Invoke(request, ref response);
                monitor.Respond(response);
                monitor.Notify();
            }
        }

        return events;
    }

    public void Dispose()
    {
        Domain.Dispose();
        _lab.Destroy(Id);
    }

    private void Answer(ref VmEvent response)
    {
        switch (response.Reason)
        {
            case VmEventReason.Cpuid:
                response.Flags |= VmEventFlags.SetRegisters;
                response.Registers.Rip += response.Cpuid.InsnLength;
                break;
            case VmEventReason.DescriptorAccess:
                response.Flags |= VmEventFlags.Emulate;
                break;
            case VmEventReason.SoftwareBreakpoint or VmEventReason.DebugException when response.Flags.HasFlag(VmEventFlags.VcpuPaused):
                var vector = response.Reason == VmEventReason.SoftwareBreakpoint ? (byte)3 : (byte)1;
                Domain.InjectTrap(new(response.VcpuId), new(vector, response.Debug.Type, (byte)response.Debug.InsnLength, TrapInjection.NoErrorCode, response.Debug.PendingDbg));
                break;
            default:
                break;
        }
    }
}

/// <summary>Changes the answer to a request.</summary>
internal delegate void Intervention(in VmEvent request, ref VmEvent response);
