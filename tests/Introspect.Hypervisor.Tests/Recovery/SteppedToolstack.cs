using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Tests.Recovery;

/// <summary>
/// The toolstack's door with a step after each call that changed something: whatever the monitor does to a domain goes
/// through it, so that these are all the states in which it can be killed, but for its writes to the ring page.
/// </summary>
internal sealed class SteppedToolstack(IToolstack inner, Action<string> step) : IToolstack
{
    public string Connection => inner.Connection;

    public int Domctl(Span<byte> op, Span<byte> buffer0, Span<byte> buffer1)
    {
        var command = BitConverter.ToUInt32(op);
        var result = inner.Domctl(op, buffer0, buffer1);
        if (command is DomctlCommand.PauseDomain or DomctlCommand.UnpauseDomain or DomctlCommand.VmEventOp or DomctlCommand.MonitorOp)
        {
            step($"domctl {command}");
        }

        return result;
    }

    public int Sysctl(Span<byte> op, Span<byte> buffer0) => inner.Sysctl(op, buffer0);

    public int HvmOp(uint command, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1) =>
        inner.HvmOp(command, argument, buffer0, buffer1);

    public int MemoryOp(uint command, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1)
    {
        var result = inner.MemoryOp(command, argument, buffer0, buffer1);
        step($"memory_op {command}");
        return result;
    }

    public int DmOp(ushort domain, Span<byte> op) => inner.DmOp(domain, op);

    public int MapForeign(ushort domain, ReadOnlySpan<ulong> gfns, bool writable, out ForeignMapping? mapping)
    {
        var result = inner.MapForeign(domain, gfns, writable, out mapping);
        step("map");
        return result;
    }

    public int BindInterdomain(ushort domain, uint remotePort, out EventChannel? channel)
    {
        var result = inner.BindInterdomain(domain, remotePort, out channel);
        step("bind");
        channel = channel is null ? null : new SteppedChannel(channel, step);
        return result;
    }

    public string? GetDomainName(ushort domain) => inner.GetDomainName(domain);

    public int SetDomainName(ushort domain, string name) => inner.SetDomainName(domain, name);

    public int ReadConsole(ushort domain, ref ulong position, Span<byte> destination) => inner.ReadConsole(domain, ref position, destination);

    public void Dispose() => inner.Dispose();

    private sealed class SteppedChannel(EventChannel inner, Action<string> step) : EventChannel
    {
        public override uint Port => inner.Port;

        public override void Notify()
        {
            step("pushed");
            inner.Notify();
            step("notified");
        }

        public override bool Wait(TimeSpan timeout, CancellationToken cancellationToken) => inner.Wait(timeout, cancellationToken);

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                inner.Dispose();
                step("unbound");
            }
        }
    }
}
