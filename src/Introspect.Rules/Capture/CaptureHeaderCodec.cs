using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Pump;

namespace Introspect.Rules.Capture;

/// <summary>The header as bytes. What a later version of the program adds stands behind, and is not looked at.</summary>
internal static class CaptureHeaderCodec
{
    private const byte MayDrop = 1;
    private const byte Interrupts = 2;
    private const byte Sync = 1;
    private const byte OnChangeOnly = 2;
    private const byte Userspace = 4;
    private const int GuidBytes = 16;

    public static void Write(RecordBuffer to, CaptureHeader header)
    {
        var domain = header.Domain;
        to.Number(header.InterfaceVersion);
        to.Text(header.Recorder);
        to.Text(header.HypervisorName);
        to.Text(header.HypervisorVersion);
        to.Number(domain.Id.Value);
        to.Text(domain.Name);
        Span<byte> uuid = stackalloc byte[GuidBytes];
        domain.Uuid.TryWriteBytes(uuid, bigEndian: true, out _);
        to.Bytes(uuid);
        to.Byte((byte)domain.Vendor);
        to.Number((ulong)domain.VcpuCount);
        to.Number(domain.MaxGfn.Value);
        to.Number(domain.MemoryBytes);
        to.Fixed64((ulong)(header.Started - DateTime.UnixEpoch).Ticks);
        to.Byte((byte)((header.MayDrop ? MayDrop : 0) | (header.Watched.Interrupts ? Interrupts : 0)));
        List(header.Watched.Events, e => Event(to, e));
        List(header.Watched.Memory, range =>
        {
            to.Number(range.First.Value);
            to.Number(range.Count);
            to.Byte((byte)range.Watched);
        });
        List(header.Watched.Breakpoints, address => to.Number(address.Value));
        List(header.Watched.AddressSpaces, to.Number);
        List(header.Windows, window =>
        {
            to.Byte((byte)window.Register);
            to.Number((ulong)window.Before);
            to.Number((ulong)window.After);
        });

        void List<T>(IReadOnlyList<T> items, Action<T> write)
        {
            // A block has an end. Whoever watches ten thousand ranges and more finds the first of them here.
            var shown = Math.Min(items.Count, MaxListed);
            to.Number((ulong)shown);
            foreach (var item in items.Take(shown))
            {
                write(item);
            }
        }
    }

    // Five lists of entries of at most 22 bytes each fit a block.
    private const int MaxListed = 3000;

    public static CaptureHeader Read(ref ByteCursor from)
    {
        var interfaceVersion = from.Number(uint.MaxValue, "interface version");
        var (recorder, hypervisor, version) = (from.Text(), from.Text(), from.Text());
        var id = new DomainId((ushort)from.Number(ushort.MaxValue, "domain"));
        var name = from.Text();
        var uuid = new Guid(from.Bytes(GuidBytes), bigEndian: true);
        var vendor = (CpuVendor)from.Byte();
        var vcpus = (int)from.Number(CaptureFormat.MaxVcpus, "a count of vCPUs of");
        var maxGfn = new Gfn(from.Number());
        var memory = from.Number();
        var started = (long)from.Fixed64();
        var flags = from.Byte();
        if (vendor is not (CpuVendor.Vmx or CpuVendor.Svm))
        {
            throw new InvalidDataException($"has the unknown vendor {(int)vendor}");
        }

        if (started < 0 || started > (DateTime.MaxValue - DateTime.UnixEpoch).Ticks)
        {
            throw new InvalidDataException("has a start that is no time");
        }

        return new()
        {
            InterfaceVersion = interfaceVersion,
            Recorder = recorder,
            HypervisorName = hypervisor,
            HypervisorVersion = version,
            Domain = new(id, name, uuid, vendor, vcpus, maxGfn, memory, DomainState.Running, 0),
            Started = DateTime.UnixEpoch.AddTicks(started),
            MayDrop = (flags & MayDrop) != 0,
            Watched = new()
            {
                Interrupts = (flags & Interrupts) != 0,
                Events = List(ref from, static (ref ByteCursor c) => Event(ref c)),
                Memory = List(ref from, static (ref ByteCursor c) => new WatchedMemory(new(c.Number()), c.Number(uint.MaxValue, "a count of pages of"), (MemAccessFlags)c.Byte())),
                Breakpoints = List(ref from, static (ref ByteCursor c) => new GuestPhysical(c.Number())),
                AddressSpaces = List(ref from, static (ref ByteCursor c) => c.Number()),
            },
            Windows = List(ref from, static (ref ByteCursor c) => new MemoryWindow((WindowRegister)c.Byte(), (int)c.Number(MemoryWindow.MaxBytes, "a window of"), (int)c.Number(MemoryWindow.MaxBytes, "a window of"))),
        };
    }

    private delegate T ReadItem<T>(ref ByteCursor cursor);

    private static List<T> List<T>(ref ByteCursor from, ReadItem<T> read)
    {
        var count = from.Number(CaptureFormat.MaxListed, "a list of length");
        var items = new List<T>();
        for (var i = 0u; i < count; i++)
        {
            items.Add(read(ref from));
        }

        return items;
    }

    // Numbers as in XEN_DOMCTL_MONITOR_EVENT_*.
    private static void Event(RecordBuffer to, MonitorEvent e)
    {
        (byte Kind, ulong Number, byte Flags, ulong Mask) written = e switch
        {
            MonitorEvent.ControlRegister c => (0, (ulong)c.Register, Bits(c.Sync, c.OnChangeOnly), c.WatchMask),
            MonitorEvent.Msr m => (1, m.Number, Bits(true, m.OnChangeOnly), 0),
            MonitorEvent.SingleStep => (2, 0, Sync, 0),
            MonitorEvent.SoftwareBreakpoint => (3, 0, Sync, 0),
            MonitorEvent.GuestRequest g => (4, 0, Bits(g.Sync, false, g.AllowUserspace), 0),
            MonitorEvent.DebugException d => (5, 0, Bits(d.Sync), 0),
            MonitorEvent.Cpuid => (6, 0, Sync, 0),
            MonitorEvent.DescriptorAccess => (9, 0, Sync, 0),
            MonitorEvent.EmulUnimplemented => (10, 0, Sync, 0),
            MonitorEvent.InguestPagefault => (11, 0, 0, 0),
            MonitorEvent.VmExit v => (12, 0, Bits(v.Sync), 0),
            MonitorEvent.IoInstruction i => (13, 0, Bits(i.Sync), 0),
            _ => throw new NotSupportedException($"an event of type {e.GetType().Name} cannot be recorded"),
        };
        to.Byte(written.Kind);
        to.Number(written.Number);
        to.Byte(written.Flags);
        to.Number(written.Mask);

        static byte Bits(bool sync, bool onChange = false, bool userspace = false) =>
            (byte)((sync ? Sync : 0) | (onChange ? OnChangeOnly : 0) | (userspace ? Userspace : 0));
    }

    private static MonitorEvent Event(ref ByteCursor from)
    {
        var kind = from.Byte();
        var number = from.Number(uint.MaxValue, "an event's number");
        var flags = from.Byte();
        var mask = from.Number();
        var (sync, onChange, userspace) = ((flags & Sync) != 0, (flags & OnChangeOnly) != 0, (flags & Userspace) != 0);
        return kind switch
        {
            0 => new MonitorEvent.ControlRegister((ControlRegisterIndex)number, sync, onChange, mask),
            1 => new MonitorEvent.Msr(number, onChange),
            2 => new MonitorEvent.SingleStep(),
            3 => new MonitorEvent.SoftwareBreakpoint(),
            4 => new MonitorEvent.GuestRequest(sync, userspace),
            5 => new MonitorEvent.DebugException(sync),
            6 => new MonitorEvent.Cpuid(),
            9 => new MonitorEvent.DescriptorAccess(),
            10 => new MonitorEvent.EmulUnimplemented(),
            11 => new MonitorEvent.InguestPagefault(),
            12 => new MonitorEvent.VmExit(sync),
            13 => new MonitorEvent.IoInstruction(sync),
            _ => throw new InvalidDataException($"has the unknown event {kind}"),
        };
    }
}
