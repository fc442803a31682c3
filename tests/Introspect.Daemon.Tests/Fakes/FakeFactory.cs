using System.Diagnostics.CodeAnalysis;
using System.Text;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Symbols;
using Introspect.Hypervisor;
using Introspect.Rules.Language;

namespace Introspect.Daemon.Tests.Fakes;

/// <summary>Hands out a fake hypervisor, with a domain as if it had been built where the user asked for one.</summary>
internal sealed class FakeFactory(FakeHypervisor hypervisor) : IHypervisorFactory
{
    public HypervisorSpec? Asked { get; private set; }

    public DomainId? Built { get; set; }

    public DemoPlan? Demo { get; set; }

    public FakeConsole Console { get; } = new();

    public ISymbolSource? Symbols { get; set; }

    public int Starts { get; private set; }

    public Action OnStart { get; set; } = () => { };

    public Action OnOpen { get; set; } = () => { };

    public HypervisorSession Open(HypervisorSpec spec)
    {
        OnOpen();
        Asked = spec;
        return new(hypervisor, Built, Console, Symbols, Demo, () =>
        {
            Starts++;
            OnStart();
        });
    }

    public HypervisorSession Serve(string socketPath, HypervisorSpec? guest, CoreFeatures features, DomainId? hardwareDomain, Action<string> log) => throw new NotSupportedException();
}

/// <summary>A console that a test writes to.</summary>
internal sealed class FakeConsole : IConsoleSource
{
    private readonly Lock _gate = new();
    private byte[] _bytes = [];

    public void Write(string text)
    {
        lock (_gate)
        {
            _bytes = [.. _bytes, .. Encoding.UTF8.GetBytes(text)];
        }
    }

    public int Read(DomainId domain, ref ulong position, Span<byte> destination)
    {
        lock (_gate)
        {
            var rest = _bytes.AsSpan((int)position);
            var count = Math.Min(rest.Length, destination.Length);
            rest[..count].CopyTo(destination);
            position += (ulong)count;
            return count;
        }
    }
}

/// <summary>One symbol that covers everything from its address on.</summary>
internal sealed class OneSymbol(string symbol, ulong address) : ISymbolSource
{
    public IEnumerable<string> Names => [symbol];

    public IReadOnlyList<NumberRange> RangesOf(string name) => name == symbol ? [new(address, ulong.MaxValue)] : [];

    public bool TryFind(ulong wanted, [NotNullWhen(true)] out string? name, out ulong offset)
    {
        name = wanted >= address ? symbol : null;
        offset = wanted - address;
        return name is not null;
    }
}
