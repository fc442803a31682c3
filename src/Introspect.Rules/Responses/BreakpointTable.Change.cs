using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Responses;

/// <content>Tables that follow each other while the guest goes on.</content>
internal sealed partial class BreakpointTable
{
    // Where breakpoints were. A vCPU that ran into one may tell of it only after it was taken out.
    private readonly HashSet<ulong> _late = [];

    /// <summary>A table of other addresses, which remembers those of an earlier one.</summary>
    public BreakpointTable(IGuestMemory memory, IEnumerable<ulong> addresses, BreakpointTable earlier)
        : this(memory, addresses)
    {
        _late.UnionWith(earlier._late);
        _late.UnionWith(earlier._addresses);
        _late.ExceptWith(_addresses);
    }

    /// <summary>The address of a breakpoint.</summary>
    public ulong AddressAt(int index) => _addresses[index];

    /// <summary>The breakpoint at an address; -1 where there is none.</summary>
    public int IndexOf(ulong address) => Math.Max(-1, Array.BinarySearch(_addresses, address));

    /// <summary>A table with more addresses, whose breakpoints are not in memory yet.</summary>
    public BreakpointTable With(IEnumerable<ulong> more) => Continue(_addresses.Concat(more));

    /// <summary>Takes out all breakpoints but some.</summary>
    /// <returns>A table of those that stay.</returns>
    public BreakpointTable Without(IReadOnlyList<ulong> kept, Func<string, Action, bool> attempt)
    {
        for (var i = 0; i < _addresses.Length; i++)
        {
            var index = i;
            if (_states[index] == State.In && !kept.Contains(_addresses[index]))
            {
                attempt($"taking out the breakpoint at {new GuestPhysical(_addresses[index])}", () => Remove(index));
            }
        }

        return Continue(_addresses.Where(kept.Contains));
    }

    /// <summary>Puts the breakpoint of an address into memory.</summary>
    public void InsertAt(ulong address) => Insert(IndexOf(address));

    /// <summary>True for an event where a breakpoint was and is not any more.</summary>
    public bool IsLate(ref readonly VmEvent request)
    {
        if (_late.Count == 0 || !_late.Contains(AddressOf(in request)))
        {
            return false;
        }

        try
        {
            Span<byte> code = stackalloc byte[1];
            _memory.ReadPhysical(new(AddressOf(in request)), code);
            return code[0] != Int3;
        }
        catch (HypervisorException)
        {
            return false;
        }
    }

    private BreakpointTable Continue(IEnumerable<ulong> addresses)
    {
        var next = new BreakpointTable(_memory, addresses, this);
        for (var i = 0; i < _addresses.Length; i++)
        {
            if (next.IndexOf(_addresses[i]) is var to and >= 0)
            {
                (next._originals[to], next._states[to]) = (_originals[i], _states[i]);
            }
        }

        return next;
    }
}
