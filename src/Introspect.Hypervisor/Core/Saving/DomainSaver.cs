using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Hypercalls.Guest;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Core.State;

namespace Introspect.Hypervisor.Core.Saving;

/// <summary>What a toolstack keeps with a domain that is saved.</summary>
/// <param name="Name">Name, at most 64 bytes.</param>
/// <param name="Value">Bytes, less than 1 MiB.</param>
internal readonly record struct SavedExtra(string Name, ReadOnlyMemory<byte> Value);

/// <summary>
/// Writes a whole domain to a stream. It stands still meanwhile, its timers too; other domains do not wait for it: what is
/// taken out under the control lock is taken in small pieces.
/// </summary>
internal sealed class DomainSaver : IDisposable
{
    private readonly Machine _machine;
    private readonly Domain _domain;
    private readonly DomainPlatform _platform;
    private readonly List<(SavedKind Kind, byte[] Payload)> _before = [];
    private readonly List<(SavedKind Kind, byte[] Payload)> _behind = [];
    private readonly List<SavedFrames> _frames = [];

    private DomainSaver(Domain domain, IEnumerable<SavedExtra> extras)
    {
        (_machine, _domain) = (domain.Machine, domain);
        _platform = domain.Platform as DomainPlatform ?? throw new HypervisorException(Errno.EOPNOTSUPP, $"domain {domain.Id} has devices that cannot be saved");
        using var _ = _machine.ControlLock.EnterScope();
        SavePolicy.Check(domain);
        domain.Pause();
        _platform.Timers.StandStill();
        _platform.Store.StandStill();
        try
        {
            SavePolicy.CheckStill(domain);
            TakeState(extras);
        }
        catch
        {
            GoOn();
            throw;
        }
    }

    /// <summary>Saves a domain, which goes on afterwards if it was not paused otherwise.</summary>
    /// <param name="domain">The domain.</param>
    /// <param name="stream">Where to.</param>
    /// <param name="extras">What is kept with it.</param>
    /// <exception cref="HypervisorException">It cannot be saved as it is now, or was destroyed meanwhile.</exception>
    public static void Save(Domain domain, Stream stream, params IEnumerable<SavedExtra> extras)
    {
        using var saver = new DomainSaver(domain, extras);
        saver.Write(stream);
    }

    /// <summary>The domain goes on.</summary>
    public void Dispose()
    {
        using var _ = _machine.ControlLock.EnterScope();
        GoOn();
    }

    private void GoOn()
    {
        _platform.Timers.GoOn();
        _platform.Store.GoOn();
        if (!_domain.IsDying)
        {
            _domain.Unpause();
        }
    }

    private void Write(Stream stream)
    {
        var writer = new SavedStreamWriter(stream);
        foreach (var (kind, payload) in _before)
        {
            writer.Write(kind, payload);
        }

        WriteFrames(writer);
        WritePages(writer);
        foreach (var (kind, payload) in _behind)
        {
            writer.Write(kind, payload);
        }

        writer.End();
    }

    // Under the control lock: all but the memory, as it is at one moment.
    private void TakeState(IEnumerable<SavedExtra> extras)
    {
        // What the guest wrote is the console's, and not half in the one and half in the other.
        _platform.DrainConsoleRing();
        if (_domain.Interleaver is { } interleaver)
        {
            using var still = interleaver.Still();
            TakeParts();
            _behind.Add((SavedKind.Interleaving, Interleaving(interleaver.State)));
        }
        else
        {
            TakeParts();
        }

        _behind.Add((SavedKind.Console, _platform.Console.SaveState()));
        foreach (var extra in extras)
        {
            var name = Encoding.UTF8.GetBytes(extra.Name);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(name.Length, SavedFormat.MaxExtraName, nameof(extras));
            _behind.Add((SavedKind.Extra, [(byte)name.Length, .. name, .. extra.Value.Span]));
        }

        foreach (var part in (_platform.Store.Save() ?? []).Chunk(SavedFormat.MostBytes(SavedKind.Store)))
        {
            _behind.Add((SavedKind.Store, part));
        }
    }

    private void TakeParts()
    {
        _before.Add((SavedKind.Domain, SavedDomainInfo.Of(_domain).ToRecord()));
        _before.Add((SavedKind.CpuPolicy, SavedCpuPolicy.Of(_platform).ToRecord()));
        _before.Add((SavedKind.Parameters, Parameters()));
        if (_platform.MemoryMap.Length != 0)
        {
            _before.Add((SavedKind.MemoryMap, MemoryMarshal.AsBytes(_platform.MemoryMap.AsSpan()).ToArray()));
        }

        TakeFrames();
        TakeSharedPages();
        var context = new byte[State.HvmContext.MaxSize(_domain)];
        _behind.Add((SavedKind.HvmContext, context[..State.HvmContext.Save(_domain, context)]));
        foreach (var section in _domain.CoreSections)
        {
            TakeSection(section);
        }
    }

    private byte[] Parameters()
    {
        var parameters = new List<byte>();
        Span<byte> one = stackalloc byte[SavedFormat.ParameterBytes];
        for (uint index = 0; index < HvmParam.Count; index++)
        {
            if (HvmParamRights.Load(index, _domain.GetParam(index)) is var value and not 0)
            {
                one.Clear();
                BinaryPrimitives.WriteUInt32LittleEndian(one, index);
                BinaryPrimitives.WriteUInt64LittleEndian(one[8..], value);
                parameters.AddRange(one);
            }
        }

        return [.. parameters];
    }

    // The pages of the hypervisor's own that the guest maps have records of their own.
    private void TakeFrames()
    {
        DomainPages.TakeFromParents(_domain);
        for (ulong gfn = 0; _domain.Physmap.TryFindMapped(ref gfn); gfn++)
        {
            var entry = _domain.Physmap[gfn];
            if (entry.Type != P2mType.RamShared && _domain.Ram.ExtentOf(entry.MachineAddress) is null)
            {
                continue;
            }

            var type = entry.Type == P2mType.RamRo ? P2mType.RamRo : P2mType.RamRw;
            if (_frames.Count != 0 && _frames[^1] is var last && last.First + last.Count == gfn && last.Type == type && last.Count < uint.MaxValue)
            {
                _frames[^1] = last with { Count = last.Count + 1 };
            }
            else
            {
                _frames.Add(new(gfn, 1, type));
            }
        }
    }

    private void TakeSharedPages()
    {
        var info = new byte[sizeof(ulong) + Gfn.PageSize];
        BinaryPrimitives.WriteUInt64LittleEndian(info, _domain.SharedInfoGfn ?? ~0UL);
        _machine.Memory.RestOfPage(_domain.SharedInfoAddress).CopyTo(info.AsSpan(sizeof(ulong)));
        _behind.Add((SavedKind.SharedInfo, info));
        for (uint index = 0; index < _platform.Grants.Count; index++)
        {
            var frame = new byte[sizeof(uint) + sizeof(ulong) + Gfn.PageSize];
            BinaryPrimitives.WriteUInt32LittleEndian(frame, index);
            BinaryPrimitives.WriteUInt64LittleEndian(frame.AsSpan(sizeof(uint)), _platform.Grants.GfnOf(index));
            _platform.Grants.FrameBytes(index).CopyTo(frame.AsSpan(sizeof(uint) + sizeof(ulong)));
            _behind.Add((SavedKind.GrantFrame, frame));
        }

        var places = new List<byte>();
        Span<byte> one = stackalloc byte[16];
        foreach (var place in _platform.VcpuInfoPlaces)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(one, place.Vcpu);
            BinaryPrimitives.WriteUInt32LittleEndian(one[4..], place.Offset);
            BinaryPrimitives.WriteUInt64LittleEndian(one[8..], place.Gfn);
            places.AddRange(one);
        }

        if (places.Count != 0)
        {
            _behind.Add((SavedKind.VcpuInfo, [.. places]));
        }
    }

    private void TakeSection(IHvmContextSection section)
    {
        var instances = section.IsPerVcpu ? (uint)_domain.Vcpus.Count : 1;
        for (uint instance = 0; instance < instances; instance++)
        {
            var record = new byte[SavedFormat.SectionPrefixBytes + section.Length];
            if (section.TrySave(instance, record.AsSpan(SavedFormat.SectionPrefixBytes)))
            {
                BinaryPrimitives.WriteUInt16LittleEndian(record, section.TypeCode);
                BinaryPrimitives.WriteUInt16LittleEndian(record.AsSpan(2), section.Version);
                BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(4), instance);
                _behind.Add((SavedKind.Section, record));
            }
        }
    }

    private static byte[] Interleaving(in InterleavingState state)
    {
        var record = new byte[SavedFormat.MostBytes(SavedKind.Interleaving)];
        BinaryPrimitives.WriteUInt32LittleEndian(record, state.Last);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(4), state.IsInTurn ? 1u : 0);
        BinaryPrimitives.WriteInt64LittleEndian(record.AsSpan(8), state.Left);
        return record;
    }

    private void WriteFrames(SavedStreamWriter writer)
    {
        foreach (var part in _frames.Chunk(SavedFormat.RunsPerRecord))
        {
            var record = new byte[part.Length * SavedFormat.RunBytes];
            for (var n = 0; n < part.Length; n++)
            {
                var run = record.AsSpan(n * SavedFormat.RunBytes);
                BinaryPrimitives.WriteUInt64LittleEndian(run, part[n].First);
                BinaryPrimitives.WriteUInt32LittleEndian(run[8..], part[n].Count);
                BinaryPrimitives.WriteUInt32LittleEndian(run[12..], (uint)part[n].Type);
            }

            writer.Write(SavedKind.Frames, record);
        }
    }

    private void WritePages(SavedStreamWriter writer)
    {
        var pages = new SavedPages();
        var buffer = new byte[SavedFormat.PagesPerRecord * Gfn.PageSize];
        foreach (var run in _frames)
        {
            for (uint done = 0; done < run.Count;)
            {
                var count = (int)Math.Min(run.Count - done, SavedFormat.PagesPerRecord);
                DomainPages.Read(_domain, run.First + done, buffer.AsSpan(0, count * Gfn.PageSize));
                for (var n = 0; n < count; n++)
                {
                    pages.Add(run.First + done + (uint)n, buffer.AsSpan(n * Gfn.PageSize, Gfn.PageSize));
                    if (pages.IsFull)
                    {
                        pages.WriteTo(writer);
                    }
                }

                done += (uint)count;
            }
        }

        pages.WriteTo(writer);
    }
}
