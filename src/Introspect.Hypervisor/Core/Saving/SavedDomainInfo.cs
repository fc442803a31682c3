using System.Runtime.InteropServices;
using System.Text;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Core.Saving;

/// <summary>What a domain was created with, as it is saved. The name follows it, in UTF-8.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SavedCreation
{
    /// <summary>UUID, in the order in which its text has it.</summary>
    public UInt128 Uuid;
    public uint CreateFlags;
    public uint EmulationFlags;
    public uint MiscFlags;
    public uint MaxVcpus;
    public uint MaxEvtchnPort;
    public int MaxGrantFrames;
    public int MaxMaptrackFrames;
    public uint GrantOpts;
    public uint SsidRef;

    /// <summary>No interrupt is given to the vCPUs: it is a fork that was asked for so.</summary>
    public uint BlocksInterrupts;

    /// <summary>Pages that it may have.</summary>
    public ulong MaxPages;

    /// <summary>Highest frame that was ever mapped.</summary>
    public ulong MaxMappedGfn;
}

/// <summary>What a saved domain is, as its first record tells.</summary>
/// <param name="Config">What createdomain was told, with the UUID.</param>
/// <param name="Name">Name; may be empty.</param>
/// <param name="MaxPages">Pages that it may have.</param>
/// <param name="MaxMappedGfn">Highest frame that was ever mapped.</param>
/// <param name="BlocksInterrupts">No interrupt is given to the vCPUs.</param>
internal sealed record SavedDomainInfo(DomctlCreateDomain Config, string Name, long MaxPages, ulong MaxMappedGfn, bool BlocksInterrupts)
{
    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>UUID.</summary>
    public Guid Uuid => DomainHandle.Read(Config);

    /// <summary>What there is to tell of a domain.</summary>
    public static SavedDomainInfo Of(Domain domain)
    {
        var config = domain.Config;
        DomainHandle.Write(ref config, domain.Handle);
        if (domain.Interleaver is not null)
        {
            // It may be so because the whole machine is.
            config.Arch.MiscFlags |= CoreDomainFlags.Interleaved;
        }

        return new(config, domain.Name, domain.Ram.MaxPages, domain.Physmap.MaxMappedGfn, domain.BlocksInterrupts);
    }

    /// <summary>The record.</summary>
    public byte[] ToRecord()
    {
        Span<byte> handle = stackalloc byte[16];
        Uuid.TryWriteBytes(handle, bigEndian: true, out _);
        var creation = new SavedCreation
        {
            Uuid = MemoryMarshal.Read<UInt128>(handle),
            CreateFlags = (uint)Config.Flags,
            EmulationFlags = (uint)Config.Arch.EmulationFlags,
            MiscFlags = Config.Arch.MiscFlags,
            MaxVcpus = Config.MaxVcpus,
            MaxEvtchnPort = Config.MaxEvtchnPort,
            MaxGrantFrames = Config.MaxGrantFrames,
            MaxMaptrackFrames = Config.MaxMaptrackFrames,
            GrantOpts = Config.GrantOpts,
            SsidRef = Config.SsidRef,
            BlocksInterrupts = BlocksInterrupts ? 1u : 0,
            MaxPages = (ulong)MaxPages,
            MaxMappedGfn = MaxMappedGfn,
        };
        return [.. MemoryMarshal.AsBytes(new ReadOnlySpan<SavedCreation>(in creation)), .. Encoding.UTF8.GetBytes(Name)];
    }

    /// <summary>Reads the record, of which nothing is believed.</summary>
    public static SavedDomainInfo Parse(SavedStreamReader reader)
    {
        var payload = reader.Payload;
        var fixedBytes = Marshal.SizeOf<SavedCreation>();
        if (payload.Length < fixedBytes || payload.Length > fixedBytes + SavedFormat.MaxName)
        {
            throw reader.Malformed($"it has {payload.Length} bytes");
        }

        var creation = MemoryMarshal.Read<SavedCreation>(payload);
        var config = new DomctlCreateDomain
        {
            SsidRef = creation.SsidRef,
            Flags = (CreateDomainFlags)creation.CreateFlags,
            MaxVcpus = creation.MaxVcpus,
            MaxEvtchnPort = creation.MaxEvtchnPort,
            MaxGrantFrames = creation.MaxGrantFrames,
            MaxMaptrackFrames = creation.MaxMaptrackFrames,
            GrantOpts = creation.GrantOpts,
        };
        config.Arch.EmulationFlags = (X86EmulationFlags)creation.EmulationFlags;
        config.Arch.MiscFlags = creation.MiscFlags;
        DomainHandle.Write(ref config, new Guid(payload[..16], bigEndian: true));
        if (!DomainPolicies.MaySave(CoreDomainFlags.RolesOf(creation.MiscFlags)))
        {
            throw reader.Refuse(Errno.EPERM, "it says that it was the hardware domain, which belongs to its machine and is never saved: this is no file that was saved");
        }

        if (DomainOperations.CheckConfig(in config) is var refused and not Errno.None)
        {
            throw reader.Refuse(refused, $"no domain of this core can be created with flags 0x{creation.CreateFlags:x}, emulation 0x{creation.EmulationFlags:x}, 0x{creation.MiscFlags:x} and {creation.MaxVcpus} vCPUs: restore it with the release that saved it");
        }

        if (creation.MaxPages > Physmap.DefaultEntryCount || creation.MaxMappedGfn >= Physmap.DefaultEntryCount || creation.BlocksInterrupts > 1)
        {
            throw reader.Malformed($"a domain cannot have {creation.MaxPages} pages up to frame 0x{creation.MaxMappedGfn:x}");
        }

        try
        {
            var name = StrictUtf8.GetString(payload[fixedBytes..]);
            return new(config, name, (long)creation.MaxPages, creation.MaxMappedGfn, creation.BlocksInterrupts != 0);
        }
        catch (DecoderFallbackException)
        {
            throw reader.Malformed("the domain's name is no text");
        }
    }
}
