using System.Buffers.Binary;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>
/// Lays out <c>struct hvm_start_info</c> version 1 with what it points to: the module list, the memory map and the
/// command lines, in one run of bytes for one guest-physical address.
/// </summary>
internal static class HvmStartInfo
{
    /// <summary><c>XEN_HVM_START_MAGIC_VALUE</c>.</summary>
    public const uint Magic = 0x336e_c578;

    public const uint Version = 1;

    public const int HeaderSize = 56;
    public const int ModuleEntrySize = 32;
    public const int MemoryMapEntrySize = 24;

    /// <summary>A module's entry.</summary>
    /// <param name="Address">Where it was loaded.</param>
    /// <param name="Size">Its bytes.</param>
    /// <param name="CommandLine">Its command line without the terminator, if any.</param>
    internal sealed record Module(ulong Address, ulong Size, byte[]? CommandLine);

    public static byte[] Build(
        ulong address,
        byte[]? commandLine,
        IReadOnlyList<Module> modules,
        IReadOnlyList<MemoryMapEntry> memoryMap)
    {
        int moduleList = HeaderSize;
        int mapTable = moduleList + (ModuleEntrySize * modules.Count);
        int strings = mapTable + (MemoryMapEntrySize * memoryMap.Count);
        int size = strings + StringSize(commandLine) + modules.Sum(m => StringSize(m.CommandLine));

        byte[] bytes = new byte[size];
        Span<byte> all = bytes;
        int nextString = strings;
        Put32(all, 0, Magic);
        Put32(all, 4, Version);
        Put32(all, 12, (uint)modules.Count);
        Put64(all, 16, modules.Count == 0 ? 0 : address + (ulong)moduleList);
        Put64(all, 24, PutString(all, address, ref nextString, commandLine));
        Put64(all, 40, address + (ulong)mapTable);
        Put32(all, 48, (uint)memoryMap.Count);

        for (int i = 0; i < modules.Count; i++)
        {
            int at = moduleList + (i * ModuleEntrySize);
            Put64(all, at, modules[i].Address);
            Put64(all, at + 8, modules[i].Size);
            Put64(all, at + 16, PutString(all, address, ref nextString, modules[i].CommandLine));
        }

        for (int i = 0; i < memoryMap.Count; i++)
        {
            int at = mapTable + (i * MemoryMapEntrySize);
            Put64(all, at, memoryMap[i].Address);
            Put64(all, at + 8, memoryMap[i].Size);
            Put32(all, at + 16, (uint)memoryMap[i].Type);
        }

        return bytes;
    }

    private static int StringSize(byte[]? text) => text is null ? 0 : text.Length + 1;

    /// <summary>Places a string, whose terminator is there already, and gives its address, 0 for none.</summary>
    private static ulong PutString(Span<byte> all, ulong address, ref int next, byte[]? text)
    {
        if (text is null)
        {
            return 0;
        }

        int at = next;
        text.CopyTo(all[at..]);
        next += text.Length + 1;
        return address + (ulong)at;
    }

    private static void Put32(Span<byte> all, int at, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(all[at..], value);

    private static void Put64(Span<byte> all, int at, ulong value) =>
        BinaryPrimitives.WriteUInt64LittleEndian(all[at..], value);
}
