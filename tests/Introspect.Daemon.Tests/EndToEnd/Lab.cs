using Introspect.Hypervisor;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary><c>introspect lab serve</c> with the endless demo guest, in a process of its own.</summary>
internal sealed class Lab : IDisposable
{
    private readonly IntrospectProcess _host;

    public Lab()
    {
        Socket = Path.Combine(Path.GetTempPath(), $"introspect-{Guid.NewGuid():N}.sock");
        _host = IntrospectProcess.Start("lab", "serve", "--socket", Socket, "--demo", "--forever");
        _host.WaitForOutput("domain 1 runs");
        Hypervisor = CoreHypervisor.Connect(Socket);
        Domain = Hypervisor.Open(new DomainId(1));
    }

    public string Socket { get; }

    public CoreHypervisor Hypervisor { get; }

    public IDomain Domain { get; }

    public ulong Counter
    {
        get
        {
            Span<byte> bytes = stackalloc byte[8];
            Domain.Memory.ReadPhysical(new GuestPhysical(CounterAddress), bytes);
            return BitConverter.ToUInt64(bytes);
        }
    }

    /// <summary>True as soon as the guest's own counter has moved.</summary>
    public bool GuestGoesOn
    {
        get
        {
            var before = Counter;
            return SpinWait.SpinUntil(() => Counter > before + 1, TimeSpan.FromSeconds(30));
        }
    }

    /// <summary>True when the counter stands still for a while.</summary>
    public bool GuestStandsStill
    {
        get
        {
            var before = Counter;
            Thread.Sleep(200);
            return Counter == before;
        }
    }

    public void Dispose()
    {
        Domain.Dispose();
        Hypervisor.Dispose();
        _host.Dispose();
        File.Delete(Socket);
    }

    private static readonly ulong CounterAddress = DemoGuest.Build(new DemoGuestOptions { Forever = true }).Symbols["counter"];
}
