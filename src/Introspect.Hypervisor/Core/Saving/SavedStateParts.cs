using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.State;

namespace Introspect.Hypervisor.Core.Saving;

/// <summary>
/// The state of a domain's CPUs and devices, kept until all of it is there: it is loaded in one go, while nothing that runs
/// the domain can see half of it.
/// </summary>
internal sealed class SavedStateParts
{
    private readonly Dictionary<(ushort TypeCode, uint Instance), (byte[] State, SavedPlace Place)> _sections = [];
    private byte[] _context = [];
    private SavedPlace _contextPlace;

    /// <summary>Where the turns stand, where the vCPUs run by turns.</summary>
    public InterleavingState? Interleaving { get; set; }

    /// <summary>Keeps the hvm context.</summary>
    public void SetContext(ReadOnlySpan<byte> context, SavedPlace place) => (_context, _contextPlace) = (context.ToArray(), place);

    /// <summary>Keeps a section, if the domain has such a one.</summary>
    public void AddSection(Domain domain, in SavedSection section, ReadOnlySpan<byte> state, SavedStreamReader reader)
    {
        if (Find(domain, section.TypeCode) is not { } owner)
        {
            throw reader.Refuse(Errno.EOPNOTSUPP, $"this release has no section 0x{section.TypeCode:x}: restore it with the release that saved it");
        }

        if (section.Version != owner.Version)
        {
            throw reader.Refuse(Errno.EOPNOTSUPP, $"it has version {section.Version} of {owner.Name}, and this release has {owner.Version}: restore it with the release that saved it");
        }

        if (state.Length != owner.Length || section.Instance >= (owner.IsPerVcpu ? domain.MaxVcpus : 1))
        {
            throw reader.Malformed($"{owner.Name} {section.Instance} does not have {state.Length} bytes");
        }

        if (!_sections.TryAdd((section.TypeCode, section.Instance), (state.ToArray(), reader.Place)))
        {
            throw reader.Malformed($"{owner.Name} {section.Instance} is there twice");
        }
    }

    /// <summary>Loads all of it into a domain that stands still.</summary>
    public void Load(Domain domain, SavedStreamReader reader)
    {
        if (domain.Interleaver is not { } interleaver)
        {
            LoadParts(domain, reader);
            return;
        }

        using var still = interleaver.Still();
        LoadParts(domain, reader);
        if (Interleaving is { } state)
        {
            interleaver.Resume(in state);
        }
    }

    private void LoadParts(Domain domain, SavedStreamReader reader)
    {
        var refused = HvmContext.Load(domain, _context, out var at);
        if (refused != Errno.None)
        {
            var what = HvmContext.Find(domain, at.TypeCode) is { } known ? known.Name : $"a record of type {at.TypeCode}, which this release does not know";
            throw reader.Refuse(_contextPlace, refused, $"the hvm context has {what} ({at.Length} bytes, instance {at.Instance}) that this domain cannot take: restore it with the release that saved it");
        }

        foreach (var section in domain.CoreSections)
        {
            for (uint instance = 0; instance < (section.IsPerVcpu ? domain.MaxVcpus : 1); instance++)
            {
                LoadSection(section, instance, reader);
            }
        }
    }

    private void LoadSection(IHvmContextSection section, uint instance, SavedStreamReader reader)
    {
        if (!_sections.TryGetValue((section.TypeCode, instance), out var saved))
        {
            // Where the domain has nothing of the kind, as it is by now, nothing lacks.
            if (section.IsRequired && section.TrySave(instance, new byte[section.Length]))
            {
                throw reader.Malformed($"there is no {section.Name} {instance} before it");
            }

            return;
        }

        if (section.Load(instance, saved.State) is var refused and not Errno.None)
        {
            throw reader.Refuse(saved.Place, refused, $"no {section.Name} can be in this state: use another copy of the file, or save the domain again");
        }
    }

    private static IHvmContextSection? Find(Domain domain, ushort typeCode) =>
        domain.CoreSections.FirstOrDefault(section => section.TypeCode == typeCode);
}
