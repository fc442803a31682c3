using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Building.Acpi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Core.Policies;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Core;

/// <summary>What a domain is to be.</summary>
internal sealed record DomainConfig
{
    /// <summary>Name; empty for none.</summary>
    public string Name { get; init; } = "";

    /// <summary>UUID; a new one unless given.</summary>
    public Guid Uuid { get; init; } = Guid.NewGuid();

    /// <summary>Number; 0 lets the hypervisor choose.</summary>
    public ushort Id { get; init; }

    /// <summary>Bytes of RAM, a multiple of 4096.</summary>
    public required ulong MemoryBytes { get; init; }

    /// <summary>vCPUs.</summary>
    public uint Vcpus { get; init; } = 1;

    /// <summary>Vendor personality.</summary>
    public CpuVendor Vendor { get; init; } = CpuVendor.Vmx;

    /// <summary>altp2m views that there may be, up to 512; 0 for the hypervisor's default.</summary>
    public uint AltP2mViews { get; init; }

    /// <summary>vCPUs run on one thread by turns and time follows instructions, so that every run is the same.</summary>
    public bool Interleaved { get; init; }

    /// <summary>What it is for, beside being a guest.</summary>
    public DomainRoles Roles { get; init; }

    /// <summary>Viridian enlightenments; none unless given.</summary>
    public ViridianFeatureSet Viridian { get; init; }

    /// <summary>Most bytes that it can get; 0: no more than it has.</summary>
    public ulong MaxMemoryBytes { get; init; }

    /// <summary>Called when the domain is there and its vCPUs are not: what they are told of the CPU can still be chosen.</summary>
    public Action<DomainId>? BeforeVcpus { get; init; }
}

/// <summary>
/// A domain being built, through the toolstack's door: created, its RAM and special pages populated, its parameters
/// set. A loader fills the RAM; <see cref="Start"/> gives the first vCPU its state. It stays paused until it is unpaused.
/// </summary>
internal sealed class DomainUnderConstruction : IGuestLoader, IDisposable
{
    private readonly ToolstackCalls _calls;
    private readonly CoreDomain _domain;

    private DomainUnderConstruction(ToolstackCalls calls, DomainId id, DomainConfig config)
    {
        _calls = calls;
        _domain = new CoreDomain(calls, id);
        Config = config;
    }

    /// <summary>Number.</summary>
    public DomainId Id => _domain.Id;

    /// <summary>What it is to be.</summary>
    public DomainConfig Config { get; }

    /// <inheritdoc/>
    public ulong MemoryBytes => Config.MemoryBytes;

    /// <inheritdoc/>
    public int VcpuCount => (int)Config.Vcpus;

    /// <summary>Creates a domain, paused and without a state. What went wrong on the way leaves no domain behind.</summary>
    public static DomainUnderConstruction Create(IToolstack toolstack, DomainConfig config)
    {
        if (config.MemoryBytes == 0 || config.MemoryBytes % Gfn.PageSize != 0)
        {
            throw new HypervisorException(Errno.EINVAL, $"a domain cannot have {config.MemoryBytes} bytes of memory: give a multiple of {Gfn.PageSize}");
        }

        var calls = new ToolstackCalls(toolstack);
        var create = ToolstackCalls.Domctl(DomctlCommand.CreateDomain, config.Id);
        create.CreateDomain.Flags = CreateDomainFlags.Hvm | CreateDomainFlags.Hap;
        create.CreateDomain.MaxVcpus = config.Vcpus;
        create.CreateDomain.MaxEvtchnPort = 1023;
        create.CreateDomain.MaxGrantFrames = 64;
        create.CreateDomain.MaxMaptrackFrames = 1024;
        create.CreateDomain.GrantOpts = 1;
        create.CreateDomain.Arch.EmulationFlags = X86EmulationFlags.Lapic;
        create.CreateDomain.Arch.MiscFlags = (config.Vendor == CpuVendor.Svm ? CoreDomainFlags.Svm : 0)
            | (config.AltP2mViews << CoreDomainFlags.AltP2mViewsShift)
            | (config.Interleaved ? CoreDomainFlags.Interleaved : 0)
            | CoreDomainFlags.FlagsOf(config.Roles);
        DomainHandle.Write(ref create.CreateDomain, config.Uuid);
        calls.Call(ref create, default, $"creating domain '{config.Name}'");

        var domain = new DomainUnderConstruction(calls, new(create.Domain), config);
        try
        {
            domain.Furnish();
            return domain;
        }
        catch
        {
            domain.Destroy();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Populate(ulong gpa, ulong pages) => PopulateRange(gpa / Gfn.PageSize, pages);

    /// <inheritdoc/>
    public void SetMemoryMap(IReadOnlyList<MemoryMapEntry> map) =>
        _calls.SetMemoryMap(Id.Value, [.. map.Select(static entry => new E820Entry { Addr = entry.Address, Size = entry.Size, Type = entry.Type })]);

    /// <inheritdoc/>
    public void WritePhysical(ulong gpa, ReadOnlySpan<byte> bytes)
    {
        using var target = MapRange(gpa, (ulong)bytes.Length, out var place);
        bytes.CopyTo(place);
    }

    /// <inheritdoc/>
    public void Clear(ulong gpa, ulong length)
    {
        // A range that a span cannot hold is cleared in pieces.
        const ulong Piece = 1 << 28;
        for (ulong done = 0; done < length; done += Piece)
        {
            using var target = MapRange(gpa + done, Math.Min(Piece, length - done), out var place);
            place.Clear();
        }
    }

    /// <summary>Gives the first vCPU its state, and all of them write-back memory, as sethvmcontext does.</summary>
    public void Start(in VcpuState state)
    {
        var record = default(HvmHwCpu);
        VcpuRecord.Store(state, ref record);
        var header = new HvmSaveHeader { Magic = HvmSaveHeader.FileMagic, Version = HvmSaveHeader.FileVersion };
        var context = new List<byte>();
        Append(context, HvmSaveCode.Header, in header);
        AppendMemoryTypes(context, _domain.ReadContext());
        Append(context, HvmSaveCode.Cpu, in record);
        AppendDescriptor(context, HvmSaveCode.End, 0);
        _domain.WriteContext([.. context], $"giving domain {Id} its first state");
    }

    /// <summary>Lets the domain run.</summary>
    public void Unpause() => _domain.Unpause();

    /// <summary>Takes the domain away again.</summary>
    public void Destroy() => _calls.Domctl(DomctlCommand.DestroyDomain, Id.Value, $"destroying domain {Id}");

    /// <summary>Lets go of it; the domain stays.</summary>
    public void Dispose() => _domain.Dispose();

    private void Furnish()
    {
        // Room for the special pages, a ring and the ACPI tables beside the RAM.
        const ulong SparePages = 16 + PvhAcpi.MostPages;
        var number = Id.Value;
        var maxMem = ToolstackCalls.Domctl(DomctlCommand.MaxMem, number);
        maxMem.MaxMem.MaxMemKb = ((Math.Max(MemoryBytes, Config.MaxMemoryBytes) / Gfn.PageSize) + SparePages) * 4;
        _calls.Call(ref maxMem, default, $"giving domain {Id} {MemoryBytes} bytes");

        if (Config.Name.Length != 0)
        {
            ToolstackCalls.Check(_calls.Toolstack.SetDomainName(number, Config.Name), $"naming domain {Id} '{Config.Name}'");
        }

        // The platform's parameters come before the vCPUs, whose CPUID may depend on them.
        if (!Config.Viridian.IsEmpty)
        {
            _calls.SetParam(number, HvmParam.Viridian, Config.Viridian.ToMask());
        }

        Config.BeforeVcpus?.Invoke(Id);
        var vcpus = ToolstackCalls.Domctl(DomctlCommand.MaxVcpus, number);
        vcpus.MaxVcpus.Max = Config.Vcpus;
        _calls.Call(ref vcpus, default, $"giving domain {Id} {Config.Vcpus} vCPUs");

        PopulateRange(0, GuestMemoryMap.LowBytes(MemoryBytes) / Gfn.PageSize);
        PopulateRange(GuestMemoryMap.HoleEnd / Gfn.PageSize, GuestMemoryMap.HighBytes(MemoryBytes) / Gfn.PageSize);
        PopulateRange(SpecialPages.FirstGfn, SpecialPages.Count);
        SpecialPagesContent.Write(this);
        foreach (var (parameter, _, value) in SpecialPages.Parameters)
        {
            _calls.SetParam(number, parameter, value);
        }
    }

    private void PopulateRange(ulong first, ulong pages)
    {
        const int MaxExtents = 4096;
        while (pages > 0)
        {
            var gfns = new ulong[Math.Min(pages, MaxExtents)];
            for (var i = 0; i < gfns.Length; i++)
            {
                gfns[i] = first + (ulong)i;
            }

            _calls.Populate(Id.Value, gfns);
            first += (ulong)gfns.Length;
            pages -= (ulong)gfns.Length;
        }
    }

    private ForeignMapping MapRange(ulong gpa, ulong length, out Span<byte> place)
    {
        var first = gpa / Gfn.PageSize;
        var gfns = new ulong[((gpa + length + Gfn.PageSize - 1) / Gfn.PageSize) - first];
        for (var i = 0; i < gfns.Length; i++)
        {
            gfns[i] = first + (ulong)i;
        }

        var mapping = _calls.Map(Id.Value, gfns, writable: true);
        place = mapping.AsSpan().Slice((int)(gpa % Gfn.PageSize), (int)length);
        return mapping;
    }

    /// <summary>Appends the memory types that the vCPUs have, with the default that a PVH guest finds.</summary>
    private static void AppendMemoryTypes(List<byte> context, ReadOnlySpan<byte> found)
    {
        while (MemoryMarshal.TryRead<HvmSaveDescriptor>(found, out var descriptor))
        {
            var record = found.Slice(Marshal.SizeOf<HvmSaveDescriptor>(), (int)descriptor.Length);
            if (descriptor.TypeCode == HvmSaveCode.Mtrr)
            {
                var types = MemoryMarshal.Read<HvmHwMtrr>(record);
                types.DefaultType = PvhEntryState.MtrrDefaultType;
                Append(context, HvmSaveCode.Mtrr, in types, descriptor.Instance);
            }

            found = found[(Marshal.SizeOf<HvmSaveDescriptor>() + record.Length)..];
        }
    }

    private static void Append<T>(List<byte> context, ushort type, in T record, ushort instance = 0)
        where T : unmanaged
    {
        AppendDescriptor(context, type, (uint)Marshal.SizeOf<T>(), instance);
        context.AddRange(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in record)));
    }

    private static void AppendDescriptor(List<byte> context, ushort type, uint length, ushort instance = 0)
    {
        var descriptor = new HvmSaveDescriptor { TypeCode = type, Instance = instance, Length = length };
        context.AddRange(MemoryMarshal.AsBytes(new ReadOnlySpan<HvmSaveDescriptor>(in descriptor)));
    }
}
