using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Building.Acpi;

/// <summary>What the tables have in common: the header that Xen's toolstack gives them, and the checksum.</summary>
internal static class AcpiTable
{
    /// <summary>"Xen".</summary>
    public static AcpiName6 OemId
    {
        get
        {
            AcpiName6 name = default;
            "Xen"u8.CopyTo(name);
            return name;
        }
    }

    /// <summary>A header for this much content.</summary>
    public static AcpiHeader Header(string signature, byte revision, int length) => new()
    {
        Signature = MemoryMarshal.Read<uint>(Encoding.ASCII.GetBytes(signature)),
        Length = (uint)length,
        Revision = revision,
        OemId = OemId,
        OemTableId = 0x4d_5648, // "HVM"
        CreatorId = 0x4c4d_5648, // "HVML"
    };

    /// <summary>A table of a header and content.</summary>
    public static byte[] Make(string signature, byte revision, ReadOnlySpan<byte> content)
    {
        var bytes = new byte[Unsafe.SizeOf<AcpiHeader>() + content.Length];
        MemoryMarshal.Write(bytes, Header(signature, revision, bytes.Length));
        content.CopyTo(bytes.AsSpan(Unsafe.SizeOf<AcpiHeader>()));
        Seal(bytes, AcpiHeader.ChecksumOffset);
        return bytes;
    }

    /// <summary>A structure's bytes.</summary>
    public static byte[] Bytes<T>(in T table)
        where T : unmanaged => MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in table)).ToArray();

    /// <summary>Sets the byte that makes the sum of all bytes zero.</summary>
    public static void Seal(Span<byte> table, int checksumOffset)
    {
        table[checksumOffset] = 0;
        byte sum = 0;
        foreach (var value in table)
        {
            sum += value;
        }

        table[checksumOffset] = (byte)-sum;
    }
}
