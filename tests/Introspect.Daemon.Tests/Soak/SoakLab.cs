using Introspect.Daemon.Tests.EndToEnd;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Core;
using Introspect.Rules.Tests.Core;

namespace Introspect.Daemon.Tests.Soak;

/// <summary>The core with eight guests that count what they do, in a process of its own.</summary>
internal sealed class SoakLab : IDisposable
{
    public const int Count = 8;

    private readonly IntrospectProcess _host;
    private readonly CoreHypervisor _hypervisor;

    public SoakLab(string folder)
    {
        Socket = Path.Combine(folder, "lab.sock");
        _host = IntrospectProcess.Start("lab", "serve", "--socket", Socket);
        _host.WaitForOutput("listening at");
        _hypervisor = CoreHypervisor.Connect(Socket);
        for (var i = 0; i < Count; i++)
        {
            Domains.Add(_hypervisor.Open(CountingGuest.Build(_hypervisor, NameOf(i))));
        }
    }

    public string Socket { get; }

    public List<IDomain> Domains { get; } = [];

    public int ProcessId => _host.Id;

    public static string NameOf(int number) => $"soak-{number}";

    /// <summary>The guests start.</summary>
    public void Go() => Domains.ForEach(domain => domain.Unpause());

    public void AskToEnd() => Domains.ForEach(CountingGuest.AskToEnd);

    public bool HaveEnded => Domains.TrueForAll(CountingGuest.HasEnded);

    public void Dispose()
    {
        Domains.ForEach(domain => domain.Dispose());
        _hypervisor.Dispose();
        _host.Dispose();
    }
}
