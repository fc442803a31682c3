using Introspect.Hypervisor;

namespace Introspect.Rules.Tests.Mocks;

/// <summary>
/// What was called on the mocks, in order, and which of the calls shall fail. A call is named by its method and, after
/// a space, its argument: a fault set on the method alone meets every one.
/// </summary>
public sealed class CallLog
{
    private readonly Lock _gate = new();
    private readonly List<string> _calls = [];
    private readonly Dictionary<string, Fault> _faults = [];

    public IReadOnlyList<string> Calls
    {
        get
        {
            lock (_gate)
            {
                return [.. _calls];
            }
        }
    }

    /// <summary>Makes the nth call (from 1; 0 is every one) of a name fail.</summary>
    public void Fail(string call, Errno error, int nth = 0)
    {
        lock (_gate)
        {
            _faults[call] = new(error, nth);
        }
    }

    public void Heal(string call)
    {
        lock (_gate)
        {
            _faults.Remove(call);
        }
    }

    /// <summary>Logs a call, and fails it if it shall.</summary>
    public void Called(string method, string argument = "")
    {
        lock (_gate)
        {
            var call = argument.Length == 0 ? method : $"{method} {argument}";
            _calls.Add(call);
            ThrowIfFaulty(method);
            if (argument.Length > 0)
            {
                ThrowIfFaulty(call);
            }
        }
    }

    public int IndexOf(string call)
    {
        lock (_gate)
        {
            return _calls.IndexOf(call);
        }
    }

    public int LastIndexOf(string call)
    {
        lock (_gate)
        {
            return _calls.LastIndexOf(call);
        }
    }

    public int Count(string prefix)
    {
        lock (_gate)
        {
            return _calls.Count(call => call.StartsWith(prefix, StringComparison.Ordinal));
        }
    }

    private void ThrowIfFaulty(string name)
    {
        if (_faults.TryGetValue(name, out var fault) && (++fault.Seen == fault.Nth || fault.Nth == 0))
        {
            throw new HypervisorException(fault.Error, $"mock: {name}");
        }
    }

    private sealed class Fault(Errno error, int nth)
    {
        public Errno Error { get; } = error;

        public int Nth { get; } = nth;

        public int Seen { get; set; }
    }
}
