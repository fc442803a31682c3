using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>
/// Lays out <c>struct hvm_start_info</c> version 1 with what it points to: the module list, the memory map and the
/// command lines, in one run of bytes for one guest-physical address.
/// </summary>
internal static class StartInfoImage
{
    /// <summary>A module's entry.</summary>
    /// <param name="Address">Where it was loaded.</param>
    /// <param name="Size">Its bytes.</param>
    /// <param name="CommandLine">Its command line without the terminator, if any.</param>
    internal sealed record Module(ulong Address, ulong Size, byte[]? CommandLine);

    public static byte[] Build(
        ulong address,
        byte[]? commandLine,
        IReadOnlyList<Module> modules,
        IReadOnlyList<MemoryMapEntry> memoryMap,
        ulong rsdp)
    {
        var moduleList = Unsafe.SizeOf<HvmStartInfo>();
        var mapTable = moduleList + (Unsafe.SizeOf<HvmModlistEntry>() * modules.Count);
        var strings = mapTable + (Unsafe.SizeOf<HvmMemmapEntry>() * memoryMap.Count);
        var bytes = new byte[strings + StringSize(commandLine) + modules.Sum(m => StringSize(m.CommandLine))];
        Span<byte> all = bytes;
        var nextString = strings;
        MemoryMarshal.Write(all, new HvmStartInfo
        {
            Magic = HvmStartInfo.MagicValue,
            Version = HvmStartInfo.CurrentVersion,
            NrModules = (uint)modules.Count,
            ModlistPaddr = modules.Count == 0 ? 0 : address + (ulong)moduleList,
            CmdlinePaddr = PutString(all, address, ref nextString, commandLine),
            RsdpPaddr = rsdp,
            MemmapPaddr = address + (ulong)mapTable,
            MemmapEntries = (uint)memoryMap.Count,
        });

        var entries = MemoryMarshal.Cast<byte, HvmModlistEntry>(all[moduleList..mapTable]);
        for (var i = 0; i < modules.Count; i++)
        {
            entries[i] = new HvmModlistEntry
            {
                Paddr = modules[i].Address,
                Size = modules[i].Size,
                CmdlinePaddr = PutString(all, address, ref nextString, modules[i].CommandLine),
            };
        }

        var map = MemoryMarshal.Cast<byte, HvmMemmapEntry>(all[mapTable..strings]);
        for (var i = 0; i < memoryMap.Count; i++)
        {
            map[i] = new HvmMemmapEntry { Addr = memoryMap[i].Address, Size = memoryMap[i].Size, Type = memoryMap[i].Type };
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

        var at = next;
        text.CopyTo(all[at..]);
        next += text.Length + 1;
        return address + (ulong)at;
    }
}
