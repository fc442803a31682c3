using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Core.Viridian;
using Introspect.Hypervisor.Core.Xenstore;

namespace Introspect.Hypervisor.Core.Saving;

/// <summary>In what a restored domain is to differ from the one that was saved.</summary>
internal sealed record RestoreOptions
{
    /// <summary>Its name; null: as it was.</summary>
    public string? Name { get; init; }

    /// <summary>Its UUID; null: as it was.</summary>
    public Guid? Uuid { get; init; }
}

/// <summary>A domain that was restored. It is paused once by the control tools, as a new one is.</summary>
/// <param name="Domain">The domain.</param>
/// <param name="Extras">What was kept with it.</param>
internal sealed record RestoredDomain(Domain Domain, IReadOnlyList<SavedExtra> Extras);

/// <summary>
/// Builds a domain from a saved one. The whole file is read and checked before anything is built; whatever is found wrong
/// later, no domain is left behind.
/// </summary>
internal sealed class DomainRestorer : ISavedDomainSink
{
    // Frames that are populated before others may use the control lock.
    private const uint FramesAtATime = 4096;

    private readonly Machine _machine;
    private readonly RestoreOptions _options;
    private readonly SavedPages _pages = new();
    private readonly List<SavedExtra> _extras = [];
    private readonly SavedStateParts _parts = new();
    private readonly List<byte> _store = [];
    private SavedPlace _storePlace;
    private SavedDomainInfo? _info;
    private Domain? _domain;
    private DomainPlatform? _platform;

    private DomainRestorer(Machine machine, RestoreOptions options) => (_machine, _options) = (machine, options);

    private Domain Domain => _domain is { IsDying: false } domain
        ? domain
        : throw new HypervisorException(Errno.ESRCH, "the domain was destroyed while it was being restored: restore it again");

    /// <summary>Restores a domain.</summary>
    /// <param name="machine">Where.</param>
    /// <param name="stream">A file, read twice: to check it, and to build from it.</param>
    /// <param name="name">What it is called where something is wrong with it.</param>
    /// <param name="options">In what the domain is to be another.</param>
    /// <exception cref="HypervisorException">
    /// EBADMSG: altered or cut off; EINVAL: no saved domain, or one that cannot be; EOPNOTSUPP: of another release; EEXIST:
    /// its name or UUID is taken; ENOMEM.
    /// </exception>
    public static RestoredDomain Restore(Machine machine, Stream stream, string name, RestoreOptions? options = null)
    {
        if (!stream.CanSeek)
        {
            throw new HypervisorException(Errno.EINVAL, $"'{name}' can be read only once, and is checked before it is used: copy it to a file");
        }

        var start = stream.Position;
        SavedDomainReader.Read(stream, name, new SavedDomainInspector());
        stream.Position = start;
        var restorer = new DomainRestorer(machine, options ?? new());
        try
        {
            SavedDomainReader.Read(stream, name, restorer);
            return new(restorer.Domain, restorer._extras);
        }
        catch
        {
            restorer.TakeAway();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Begin(SavedDomainInfo info, SavedCpuPolicy policy, SavedStreamReader reader)
    {
        var config = info.Config;
        DomainHandle.Write(ref config, _options.Uuid ?? info.Uuid);
        _info = info with { Config = config, Name = _options.Name ?? info.Name };
        using var _ = _machine.ControlLock.EnterScope();
        RefuseTwins();
        var flags = config.Arch.MiscFlags;
        _domain = _machine.CreateDomain(0, in config, CoreDomainFlags.VendorOf(flags), CoreDomainFlags.AltP2mViewsOf(flags), CoreDomainFlags.RolesOf(flags));

        // Whoever unpauses it meanwhile does not let it run.
        _domain.Pause();
        _platform = _domain.Platform as DomainPlatform
            ?? throw new HypervisorException(Errno.EOPNOTSUPP, "this machine gives domains devices that cannot be restored");
        _platform.Timers.StandStill();
        if (_platform.IsInterleaved != ((flags & CoreDomainFlags.Interleaved) != 0))
        {
            throw reader.Refuse(Errno.EINVAL, "its vCPUs ran each on a thread of its own, and this machine runs all by turns: restore it on another");
        }

        ToolstackCalls.Check(_platform.TellFeatures(policy.Features, policy.TscFrequency, policy.ForcedEmulationPrefix), "telling the restored domain its CPUID");
        if (policy.DifferenceFrom(_platform.Policy) is { } leaf)
        {
            throw reader.Refuse(Errno.EOPNOTSUPP, $"this release gives another CPUID leaf 0x{leaf.Leaf:x} (subleaf {leaf.Subleaf}): restore it with the release that saved it");
        }

        _domain.Ram.MaxPages = info.MaxPages;
        _domain.BlocksInterrupts = info.BlocksInterrupts;
    }

    /// <inheritdoc/>
    public void Parameter(uint index, ulong value, SavedStreamReader reader)
    {
        if (index == HvmParam.Viridian)
        {
            RefuseUnknownViridian(value, reader);
        }

        using var _ = _machine.ControlLock.EnterScope();
        if (ParameterOperations.Store(Domain, index, value) is var refused and not Errno.None)
        {
            throw reader.Refuse(refused, $"HVM parameter {index} cannot be 0x{value:x} in this release: restore it with the release that saved it");
        }
    }

    /// <inheritdoc/>
    public void MemoryMap(ReadOnlySpan<E820Entry> entries, SavedStreamReader reader) => _platform!.MemoryMap = entries.ToArray();

    /// <inheritdoc/>
    public void Frames(in SavedFrames frames, SavedStreamReader reader)
    {
        for (uint done = 0; done < frames.Count; done += FramesAtATime)
        {
            using var _ = _machine.ControlLock.EnterScope();
            for (var n = done; n < Math.Min(frames.Count, done + FramesAtATime); n++)
            {
                var gfn = frames.First + n;
                if (!Domain.Ram.TryPopulate(Domain.Physmap, gfn))
                {
                    throw reader.Refuse(Errno.ENOMEM, $"there is no page for frame 0x{gfn:x}: destroy another domain first");
                }

                if (frames.Type != P2mType.RamRw)
                {
                    var entry = Domain.Physmap[gfn];
                    Domain.Physmap.TryReplace(gfn, entry, entry.As(frames.Type));
                }
            }
        }
    }

    /// <inheritdoc/>
    public void Pages(SavedStreamReader reader)
    {
        var count = _pages.Decode(reader);
        using var _ = _machine.ControlLock.EnterScope();
        for (var n = 0; n < count; n++)
        {
            var gfn = SavedPages.FrameAt(reader.Payload, n);
            var address = Domain.Physmap[gfn].MachineAddress;
            if (Domain.Ram.ExtentOf(address) is null)
            {
                throw reader.Malformed($"frame 0x{gfn:x} has contents and no page");
            }

            _pages.Page(n).CopyTo(_machine.Memory.RestOfPage(address));
        }
    }

    /// <inheritdoc/>
    public void SharedInfo(ulong gfn, ReadOnlySpan<byte> page, SavedStreamReader reader)
    {
        using var _ = _machine.ControlLock.EnterScope();
        page.CopyTo(_machine.Memory.RestOfPage(Domain.SharedInfoAddress));
        if (gfn != ~0UL)
        {
            ToolstackCalls.Check(Domain.MapSharedInfo(gfn), "mapping the restored shared_info page");
        }
    }

    /// <inheritdoc/>
    public void GrantFrame(uint index, ulong gfn, ReadOnlySpan<byte> page, SavedStreamReader reader)
    {
        using var _ = _machine.ControlLock.EnterScope();
        RefuseDying();
        var grants = _platform!.Grants;
        ToolstackCalls.Check(grants.Grow(index + 1), "growing the restored grant table");
        page.CopyTo(grants.FrameBytes(index));
        if (gfn != ~0UL)
        {
            ToolstackCalls.Check(grants.Map(index, gfn), "mapping the restored grant table");
        }
    }

    /// <inheritdoc/>
    public void VcpuInfo(in VcpuInfoPlace place, SavedStreamReader reader)
    {
        using var _ = _machine.ControlLock.EnterScope();
        RefuseDying();
        if (!_platform!.TryRegisterVcpuInfo(place.Vcpu, place.Gfn, place.Offset, []))
        {
            throw reader.Malformed($"vCPU {place.Vcpu} keeps its vcpu_info in frame 0x{place.Gfn:x}, which is no RAM");
        }
    }

    /// <inheritdoc/>
    public void HvmContext(ReadOnlySpan<byte> context, SavedStreamReader reader) => _parts.SetContext(context, reader.Place);

    /// <inheritdoc/>
    public void Section(in SavedSection section, ReadOnlySpan<byte> state, SavedStreamReader reader) =>
        _parts.AddSection(Domain, in section, state, reader);

    /// <inheritdoc/>
    public void Interleaving(in InterleavingState state, SavedStreamReader reader) => _parts.Interleaving = state;

    /// <inheritdoc/>
    public void Console(ReadOnlySpan<byte> state, SavedStreamReader reader)
    {
        if (_platform!.Console.LoadState(state) != Errno.None)
        {
            throw reader.Malformed("no console can be in this state");
        }
    }

    /// <inheritdoc/>
    public void Extra(string name, ReadOnlySpan<byte> value, SavedStreamReader reader) => _extras.Add(new(name, value.ToArray()));

    /// <inheritdoc/>
    public void Store(ReadOnlySpan<byte> state, SavedStreamReader reader)
    {
        const int Most = 64 << 20;
        if (_store.Count + state.Length > Most)
        {
            throw reader.Malformed($"no domain has {Most} bytes in xenstore");
        }

        _store.AddRange(state);
        _storePlace = reader.Place;
    }

    /// <inheritdoc/>
    public void End(SavedStreamReader reader)
    {
        using var _ = _machine.ControlLock.EnterScope();
        RefuseTwins();
        Domain.CreateVcpus();
        _platform!.BeforeStateCopy();
        _parts.Load(Domain, reader);
        Domain.Physmap.RaiseMaxMappedGfn(_info!.MaxMappedGfn);
        _platform.CatchUpDate();
        Domain.Name = _info.Name;
        ConnectStore(reader);
        _platform.Timers.GoOn();
        Domain.Unpause();
    }

    // A domain that was saved without it is as new to the store.
    private void ConnectStore(SavedStreamReader reader)
    {
        StoreState? state = null;
        if (_store.Count != 0 && !StoreState.TryParse(CollectionsMarshal.AsSpan(_store), out state))
        {
            throw reader.Refuse(_storePlace, Errno.EINVAL, "no domain can be in this state to xenstore: use another copy of the file, or save the domain again");
        }

        _platform!.Store.Connect(state);
    }

    private static void RefuseUnknownViridian(ulong mask, SavedStreamReader reader)
    {
        try
        {
            ViridianFeatureSet.FromStream(mask);
        }
        catch (HypervisorException unknown)
        {
            throw reader.Refuse(unknown.Error, $"{unknown.Message}: restore it with the release that saved it");
        }
    }

    // Two domains of one name could not be told apart. That of the UUID is asked of others than the one being built.
    private void RefuseTwins()
    {
        foreach (var other in _machine.Domains)
        {
            if (other == _domain)
            {
                continue;
            }

            if (_info!.Name.Length != 0 && other.Name == _info.Name)
            {
                throw new HypervisorException(Errno.EEXIST, $"there is a domain '{other.Name}' already ({other.Id}): destroy it, or restore under another name");
            }

            if (other.Handle == _info.Uuid)
            {
                throw new HypervisorException(Errno.EEXIST, $"domain {other.Id} has the UUID {other.Handle} already: destroy it, or restore with another UUID");
            }
        }
    }

    private void RefuseDying() => _ = Domain;

    private void TakeAway()
    {
        using var _ = _machine.ControlLock.EnterScope();
        if (_domain is { IsDying: false } domain)
        {
            _machine.DestroyDomain(domain);
        }
    }
}
