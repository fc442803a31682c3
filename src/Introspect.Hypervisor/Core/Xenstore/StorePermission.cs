using System.Globalization;
using System.Text;

namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>What a domain may do with a node.</summary>
[Flags]
internal enum StoreRights : byte
{
    None = 0,
    Read = 1,
    Write = 2,
    Both = Read | Write,

    /// <summary>Change who may do what.</summary>
    Own = 4,
    All = Both | Own,
}

/// <summary>An entry in a node's list of permissions. The first names the owner, and what those may who have no entry.</summary>
/// <param name="Domain">Whom it is for.</param>
/// <param name="Rights">What they may.</param>
internal readonly record struct StorePermission(ushort Domain, StoreRights Rights)
{
    /// <summary>What somebody may.</summary>
    public static StoreRights Of(StoreCaller caller, ReadOnlySpan<StorePermission> permissions)
    {
        if (caller.IsToolstack || permissions[0].Domain == caller.Domain)
        {
            return StoreRights.All;
        }

        foreach (ref readonly var entry in permissions[1..])
        {
            if (entry.Domain == caller.Domain)
            {
                return entry.Rights;
            }
        }

        return permissions[0].Rights;
    }

    /// <summary>Reads an entry as messages have it: a letter and the domain's number.</summary>
    public static bool TryParse(ReadOnlySpan<byte> text, out StorePermission permission)
    {
        permission = default;
        StoreRights? rights = text.IsEmpty ? null : text[0] switch
        {
            (byte)'r' => StoreRights.Read,
            (byte)'w' => StoreRights.Write,
            (byte)'b' => StoreRights.Both,
            (byte)'n' => StoreRights.None,
            _ => null,
        };
        if (rights is null || !ushort.TryParse(text[1..], NumberStyles.None, CultureInfo.InvariantCulture, out var domain))
        {
            return false;
        }

        permission = new(domain, rights.Value);
        return true;
    }

    /// <summary>The entry as messages have it.</summary>
    public override string ToString()
    {
        var letter = Rights switch
        {
            StoreRights.Read => 'r',
            StoreRights.Write => 'w',
            StoreRights.Both => 'b',
            _ => 'n',
        };
        return string.Create(CultureInfo.InvariantCulture, $"{letter}{Domain}");
    }

    /// <summary>A list as messages have it.</summary>
    public static byte[] ToBytes(IEnumerable<StorePermission> permissions)
    {
        var text = new StringBuilder();
        foreach (var entry in permissions)
        {
            text.Append(entry).Append('\0');
        }

        return Encoding.ASCII.GetBytes(text.ToString());
    }
}
