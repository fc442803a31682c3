using System.Text;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>What an image says to Xen: the notes whose owner is "Xen". Of two with one type the later counts, as it does there.</summary>
internal sealed class XenNotes
{
    public const string Owner = "Xen";

    private readonly Dictionary<XenNoteType, ElfNote> _notes = [];

    public XenNotes(IEnumerable<ElfNote> notes)
    {
        foreach (ElfNote note in notes)
        {
            if (note.Owner == Owner)
            {
                _notes[(XenNoteType)note.Type] = note;
            }
        }
    }

    /// <summary>How many different types there are.</summary>
    public int Count => _notes.Count;

    /// <summary>The note of a type.</summary>
    public ElfNote? Find(XenNoteType type) => _notes.TryGetValue(type, out ElfNote note) ? note : null;

    /// <summary>A note's number; null when there is none, or when it is no number.</summary>
    public ulong? Number(XenNoteType type) =>
        Find(type) is { } note && note.TryGetNumber(out ulong value) ? value : null;

    /// <summary>A note's string, up to its terminator; null when there is none.</summary>
    public string? Text(XenNoteType type)
    {
        if (Find(type) is not { } note)
        {
            return null;
        }

        ReadOnlySpan<byte> text = note.Description.Span;
        int end = text.IndexOf((byte)0);
        return Encoding.Latin1.GetString(end < 0 ? text : text[..end]);
    }
}
