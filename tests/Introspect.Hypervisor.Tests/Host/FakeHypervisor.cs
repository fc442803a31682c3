using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Tests.Host;

/// <summary>
/// Stands for the hypervisor behind a host: remembers what it was asked byte for byte, and answers with bytes and
/// numbers that follow from it. Domain 1 has 70,000 pages of a memfd, the first four in descending
/// order, and port 5.
/// </summary>
internal sealed class FakeHypervisor : IToolstack, IDescriptorSource
{
    public const int Pages = 70_000;

    private readonly Lock _gate = new();

    public MemoryFile Ram { get; } = MemoryFile.Create("fake-ram", Pages * 4096L);

    public List<string> Calls { get; } = [];

    /// <summary>What the next operations answer.</summary>
    public int Result { get; set; }

    public int OpenExports { get; private set; }

    public int OpenChannels { get; private set; }

    public CountdownEvent Notified { get; } = new(1);

    /// <summary>The eventfd that the hypervisor raises for the bound end.</summary>
    public EventFd? FromRemote { get; private set; }

    /// <summary>Set: Domctl waits for it before it answers.</summary>
    public ManualResetEventSlim? Hold { get; set; }

    public string Connection => "fake";

    public int Domctl(Span<byte> op, Span<byte> buffer0, Span<byte> buffer1)
    {
        Hold?.Wait();
        return Answer("domctl", op, buffer0, buffer1);
    }

    public int Sysctl(Span<byte> op, Span<byte> buffer0) => Answer("sysctl", op, buffer0, default);

    public int HvmOp(uint command, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1) =>
        Answer($"hvm_op {command:x}", argument, buffer0, buffer1);

    public int MemoryOp(uint command, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1) =>
        Answer($"memory_op {command:x}", argument, buffer0, buffer1);

    public int DmOp(ushort domain, Span<byte> op) => Answer($"dm_op {domain}", op, default, default);

    public int MapForeign(ushort domain, ReadOnlySpan<ulong> gfns, bool writable, out ForeignMapping? mapping) =>
        throw new InvalidOperationException("A host exports descriptors; it does not map.");

    public int BindInterdomain(ushort domain, uint remotePort, out EventChannel? channel) =>
        throw new InvalidOperationException("A host exports descriptors; it does not bind for itself.");

    public string? GetDomainName(ushort domain) => domain switch
    {
        1 => "größe",
        2 => null,
        _ => throw new InvalidDataException("the fake fails on purpose"),
    };

    public int SetDomainName(ushort domain, string name)
    {
        Note($"name {domain} {name}");
        return Result;
    }

    public int ReadConsole(ushort domain, ref ulong position, Span<byte> destination)
    {
        Note($"console {domain} {position} {destination.Length}");
        var count = Math.Min(destination.Length, 10);
        for (var i = 0; i < count; i++)
        {
            destination[i] = (byte)('a' + (int)position + i);
        }

        position += (ulong)count;
        return count;
    }

    public int ExportForeign(ushort domain, ReadOnlySpan<ulong> gfns, bool writable, out ForeignExport? export)
    {
        export = null;
        Note($"map {domain} {string.Join(',', gfns.Length > 8 ? [(ulong)gfns.Length] : gfns.ToArray())} {writable}");
        if (domain != 1)
        {
            return -(int)Errno.ESRCH;
        }

        var runs = new List<ForeignRun>();
        foreach (var gfn in gfns)
        {
            if (gfn >= Pages)
            {
                return -(int)Errno.EFAULT;
            }

            runs.Add(new(Ram.Handle, (long)(gfn < 4 ? 3 - gfn : gfn) * 4096, 1));
        }

        lock (_gate)
        {
            OpenExports++;
        }

        export = new Export(this, runs);
        return 0;
    }

    public int ExportEventChannel(ushort domain, uint remotePort, out EventChannel? channel, out EventFd? fromRemote)
    {
        (channel, fromRemote) = (null, null);
        if (domain != 1 || remotePort != 5)
        {
            return -(int)Errno.EINVAL;
        }

        lock (_gate)
        {
            OpenChannels++;
            fromRemote = FromRemote = EventFd.Create();
            channel = new Channel(this, fromRemote);
        }

        return 0;
    }

    public void Dispose()
    {
        Ram.Dispose();
        Notified.Dispose();
        Hold?.Dispose();
    }

    // Every byte comes back as its complement, so that both directions are seen.
    private int Answer(string name, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1)
    {
        Note($"{name} {Digest(argument)} {Digest(buffer0)} {Digest(buffer1)}");
        Complement(argument);
        Complement(buffer0);
        Complement(buffer1);
        return Result;
    }

    public static string Digest(ReadOnlySpan<byte> bytes) =>
        bytes.Length <= 16 ? $"[{Convert.ToHexString(bytes)}]" : $"[{bytes.Length}:{Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(bytes)[..8])}]";

    private static void Complement(Span<byte> bytes)
    {
        foreach (ref var b in bytes)
        {
            b = (byte)~b;
        }
    }

    private void Note(string call)
    {
        lock (_gate)
        {
            Calls.Add(call);
        }
    }

    private sealed class Export(FakeHypervisor owner, IReadOnlyList<ForeignRun> runs) : ForeignExport
    {
        public override IReadOnlyList<ForeignRun> Runs => runs;

        protected override void Dispose(bool disposing)
        {
            lock (owner._gate)
            {
                owner.OpenExports--;
            }
        }
    }

    private sealed class Channel(FakeHypervisor owner, EventFd fromRemote) : EventChannel
    {
        public override uint Port => 77;

        public override void Notify() => owner.Notified.Signal();

        public override bool Wait(TimeSpan timeout, CancellationToken cancellationToken) => fromRemote.Wait(timeout, cancellationToken);

        protected override void Dispose(bool disposing)
        {
            lock (owner._gate)
            {
                owner.OpenChannels--;
            }

            fromRemote.Dispose();
        }
    }
}
