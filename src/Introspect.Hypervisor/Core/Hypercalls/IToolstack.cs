using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Core.Hypercalls;

/// <summary>
/// The one door for toolstack operations on the core: raw domctl, sysctl, hvm_op, memory_op and dm_op calls, the
/// same bytes, checks and error numbers that Xen has. In this process it is the hypervisor itself; over a socket
/// it is a client that carries the bytes. The memory behind a call's guest handles travels in the buffers, in
/// the order of the handles in the structure. Every call returns 0 or more, or a negated errno.
/// </summary>
internal interface IToolstack : IDisposable
{
    /// <summary>How the hypervisor is reached, for people: <c>in-process</c> or a socket's path.</summary>
    string Connection { get; }

    /// <summary>
    /// A response's registers are seen in the vCPU's state at once, which tells whether a request holds it. Xen keeps
    /// them until the vCPU runs.
    /// </summary>
    bool TellsHeldVcpus => true;

    /// <summary><c>__HYPERVISOR_domctl</c>. <paramref name="op"/> is <c>struct xen_domctl</c>, in and out.</summary>
    int Domctl(Span<byte> op, Span<byte> buffer0, Span<byte> buffer1);

    /// <summary><c>__HYPERVISOR_sysctl</c>. <paramref name="op"/> is <c>struct xen_sysctl</c>, in and out.</summary>
    int Sysctl(Span<byte> op, Span<byte> buffer0);

    /// <summary><c>__HYPERVISOR_hvm_op</c>.</summary>
    int HvmOp(uint command, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1);

    /// <summary><c>__HYPERVISOR_memory_op</c>.</summary>
    int MemoryOp(uint command, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1);

    /// <summary><c>__HYPERVISOR_dm_op</c>. <paramref name="op"/> is <c>struct xen_dm_op</c>.</summary>
    int DmOp(ushort domain, Span<byte> op);

    /// <summary>Maps guest pages (<c>xenforeignmemory_map</c>). A gfn that is not there fails the whole call with EFAULT.</summary>
    int MapForeign(ushort domain, ReadOnlySpan<ulong> gfns, bool writable, out ForeignMapping? mapping);

    /// <summary>Binds a domain's event channel port (<c>xenevtchn_bind_interdomain</c>).</summary>
    int BindInterdomain(ushort domain, uint remotePort, out EventChannel? channel);

    /// <summary>A domain's name, which on Xen stands in xenstore; null when there is none.</summary>
    string? GetDomainName(ushort domain);

    /// <summary>Names a domain.</summary>
    int SetDomainName(ushort domain, string name);

    /// <summary>Takes what the guest wrote to its console since <paramref name="position"/>, and moves the position on.</summary>
    int ReadConsole(ushort domain, ref ulong position, Span<byte> destination);
}
