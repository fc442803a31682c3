namespace Introspect.Hypervisor.Core.Building;

/// <summary>The notes whose owner is "Xen", by type. Of two with one type the later counts, as it does there.</summary>
internal sealed class XenNotes
{
    private readonly ElfNote?[] _notes = new ElfNote?[(int)XenNoteType.Phys32Reloc + 1];

    public XenNotes(IReadOnlyList<ElfNote> notes)
    {
        foreach (ElfNote note in notes)
        {
            if (note.IsXen && note.Type < (uint)_notes.Length)
            {
                _notes[note.Type] = note;
            }
        }
    }

    /// <summary>How many different types there are, of those that have a meaning.</summary>
    public int Count => _notes.Count(n => n is not null);

    /// <summary>The note of a type.</summary>
    public ElfNote? Find(XenNoteType type) => _notes[(int)type];

    /// <summary>A note's number; null when there is none, or when it is no number.</summary>
    public ulong? Number(XenNoteType type) =>
        Find(type) is { } note && note.TryGetNumber(out ulong value) ? value : null;

    /// <summary>A note's string, up to its terminator; null when there is none.</summary>
    public string? Text(XenNoteType type) => Find(type)?.Text;
}
