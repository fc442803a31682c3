using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Responses;

/// <summary>
/// The breakpoints that a pump puts into a guest's code: one-byte int3 instructions, with the bytes that they stand
/// for. Known by guest-physical address, so that they are the same in every address space that maps the page.
/// </summary>
internal sealed partial class BreakpointTable
{
    private const byte Int3 = 0xcc;

    private readonly IGuestMemory _memory;
    private readonly ulong[] _addresses;
    private readonly byte[] _originals;
    private readonly State[] _states;

    public BreakpointTable(IGuestMemory memory, IEnumerable<ulong> addresses)
    {
        _memory = memory;
        _addresses = [.. addresses.Distinct().Order()];
        _originals = new byte[_addresses.Length];
        _states = new State[_addresses.Length];
    }

    private enum State : byte
    {
        /// <summary>The guest's own byte is in memory.</summary>
        Out,

        /// <summary>The int3 is in memory.</summary>
        In,

        /// <summary>The int3 is in a copy of the page, and the guest's own byte in the page.</summary>
        InCopy,

        /// <summary>The guest has an int3 of its own there: nothing is inserted, and the guest gets its breakpoint.</summary>
        Guests,
    }

    public bool IsEmpty => _addresses.Length == 0;

    /// <summary>The guest's frames that have breakpoints.</summary>
    public IEnumerable<ulong> Pages => _addresses.Select(address => address >> Gfn.PageShift).Distinct();

    /// <summary>Where in guest-physical memory the instruction of an event is.</summary>
    public static ulong AddressOf(ref readonly VmEvent request) =>
        (request.Debug.Gfn << Gfn.PageShift) | ((request.Registers.CsBase + request.Registers.Rip) & (Gfn.PageSize - 1));

    /// <summary>The breakpoint of an event.</summary>
    /// <returns>-1 when it is the guest's own.</returns>
    public int Find(ref readonly VmEvent request)
    {
        var index = Array.BinarySearch(_addresses, AddressOf(in request));
        return index >= 0 && _states[index] != State.Guests ? index : -1;
    }

    /// <summary>Puts one after the other into memory.</summary>
    /// <exception cref="HypervisorException">EFAULT: there is no such page.</exception>
    public void InsertAll(Action<GuestPhysical> inserting)
    {
        for (var i = 0; i < _addresses.Length; i++)
        {
            inserting(new(_addresses[i]));
            Insert(i);
        }
    }

    /// <summary>Puts those of a page into a copy of it, which the guest runs in the page's place.</summary>
    public void InsertInto(ulong gfn, Span<byte> copy)
    {
        for (var i = 0; i < _addresses.Length; i++)
        {
            if (_addresses[i] >> Gfn.PageShift != gfn)
            {
                continue;
            }

            ref var code = ref copy[(int)(_addresses[i] & (Gfn.PageSize - 1))];
            _states[i] = code == Int3 ? State.Guests : State.InCopy;
            _originals[i] = code;
            code = Int3;
        }
    }

    /// <summary>Puts one into memory, over whatever the guest has there now.</summary>
    public void Insert(int index)
    {
        Span<byte> code = stackalloc byte[1];
        _memory.ReadPhysical(new(_addresses[index]), code);
        if (code[0] == Int3)
        {
            // In already where it is ours; else a handler of the guest waits for it.
            _states[index] = _states[index] == State.In ? State.In : State.Guests;
            return;
        }

        _originals[index] = code[0];
        code[0] = Int3;
        _memory.WritePhysical(new(_addresses[index]), code);
        _states[index] = State.In;
    }

    /// <summary>Takes one out. Where the guest has written something else meanwhile, that stays.</summary>
    public void Remove(int index)
    {
        if (_states[index] != State.In)
        {
            return;
        }

        _states[index] = State.Out;
        Span<byte> code = stackalloc byte[1];
        _memory.ReadPhysical(new(_addresses[index]), code);
        if (code[0] == Int3)
        {
            code[0] = _originals[index];
            _memory.WritePhysical(new(_addresses[index]), code);
        }
    }

    /// <summary>Takes every one out, whatever is refused meanwhile.</summary>
    public void RemoveAll(Func<string, Action, bool> attempt)
    {
        for (var i = 0; i < _addresses.Length; i++)
        {
            var index = i;
            if (_states[index] == State.In)
            {
                attempt($"taking out the breakpoint at {new GuestPhysical(_addresses[index])}", () => Remove(index));
            }
        }
    }

    /// <summary>Puts the guest's bytes into code that was read from its memory.</summary>
    /// <param name="address">Guest-physical address of the first byte.</param>
    /// <param name="code">What was read; ends in the page.</param>
    public void Unmask(ulong address, Span<byte> code)
    {
        var first = Array.BinarySearch(_addresses, address);
        for (var i = first < 0 ? ~first : first; i < _addresses.Length && _addresses[i] - address < (ulong)code.Length; i++)
        {
            if (_states[i] == State.In)
            {
                code[(int)(_addresses[i] - address)] = _originals[i];
            }
        }
    }
}
