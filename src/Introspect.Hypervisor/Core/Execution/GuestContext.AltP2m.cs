using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Core.Hypercalls.Guest;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>What hypercalls do with altp2m views.</summary>
internal sealed partial class GuestContext
{
    // Elements of the caller's lists that are read at once.
    private const int ChunkFrames = 64;

    /// <inheritdoc/>
    public bool TryReadAltP2m(ushort domainId, out bool active, out AltP2mMode mode)
    {
        var domain = domainId == DomainId ? _domain : _domain.Machine.Find(domainId);
        active = domain is { AltP2m.IsActive: true };
        mode = (AltP2mMode)(domain?.GetParam(HvmParam.AltP2m) ?? 0);
        return domain is not null;
    }

    /// <inheritdoc/>
    public Errno AltP2m(ref HvmAltP2mOp operation) => AltP2mOperations.Do(_domain, ref operation, _runner.Vcpu);

    /// <inheritdoc/>
    public Errno SetViewAccess(ref HvmAltP2mOp operation)
    {
        if (AltP2mOperations.CheckMulti(in operation) is var refused and not Errno.None)
        {
            return refused;
        }

        ref var argument = ref operation.SetMemAccessMulti;

        // An empty list asks whether there is such a view, and nothing else.
        var result = _domain.AltP2m.SetAccess(argument.View, [], []);
        Span<ulong> gfns = stackalloc ulong[ChunkFrames];
        Span<byte> accesses = stackalloc byte[ChunkFrames];
        var end = Math.Min(argument.Nr, argument.Opaque + AltP2mOperations.FramesAtATime);
        while (result == Errno.None && argument.Opaque < end)
        {
            var count = ReadElements(in argument, gfns, accesses, (int)Math.Min(end - argument.Opaque, ChunkFrames));
            result = count == 0 ? Errno.EFAULT : _domain.AltP2m.SetAccess(argument.View, gfns[..count], accesses[..count]);
            argument.Opaque += (uint)count;
        }

        return result == Errno.None && argument.Opaque < argument.Nr ? Errno.ERESTART : result;
    }

    // How many could be read: a list may run into memory that is not there, and what comes before it counts.
    private int ReadElements(in AltP2mSetMemAccessMulti argument, Span<ulong> gfns, Span<byte> accesses, int count)
    {
        var list = argument.PfnList + (argument.Opaque * sizeof(ulong));
        var rights = argument.AccessList + argument.Opaque;
        if (CopyFromGuest(list, MemoryMarshal.AsBytes(gfns[..count])) && CopyFromGuest(rights, accesses[..count]))
        {
            return count;
        }

        var read = 0;
        while (read < count && this.TryRead(list + ((uint)read * sizeof(ulong)), out gfns[read]) && this.TryRead(rights + (uint)read, out accesses[read]))
        {
            read++;
        }

        return read;
    }
}
