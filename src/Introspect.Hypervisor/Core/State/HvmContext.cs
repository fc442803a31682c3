using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.State;

/// <summary>
/// One kind of record in a domain's hvm context. The room that owns the state registers it with
/// <see cref="Domain.ContextSections"/>; saving, loading and copying a domain go through these and nothing else.
/// </summary>
internal interface IHvmContextSection
{
    /// <summary>Type of the record (<see cref="HvmSaveCode"/>).</summary>
    ushort TypeCode { get; }

    /// <summary>What it is, for people who are told that a saved domain's record of it cannot be taken.</summary>
    string Name => $"record {TypeCode}";

    /// <summary>
    /// Layout of a record that is none of Xen's; one more whenever it changes, so that a domain which was saved with another
    /// layout is refused and not misread.
    /// </summary>
    ushort Version => 1;

    /// <summary>A saved domain without it is refused; else it was saved by a release that had none, and it stays as it is.</summary>
    bool IsRequired => true;

    /// <summary>There is one record a vCPU; else one a domain, of instance 0.</summary>
    bool IsPerVcpu { get; }

    /// <summary>Bytes of a record. A shorter one that is loaded is filled up with zeros.</summary>
    int Length { get; }

    /// <summary>A shorter record is refused.</summary>
    bool IsLengthExact => false;

    /// <summary>Writes a record. The vCPUs stand still.</summary>
    /// <returns>False when there is nothing to save: the record is left out.</returns>
    bool TrySave(uint instance, Span<byte> record);

    /// <summary>Takes a record over. The vCPUs stand still.</summary>
    /// <returns>EINVAL: a value that cannot be, or no such vCPU.</returns>
    Errno Load(uint instance, ReadOnlySpan<byte> record);
}

/// <summary>A domain's hvm context: records behind descriptors, the first a header and the last an end marker.</summary>
internal static class HvmContext
{
    private static readonly int DescriptorBytes = Marshal.SizeOf<HvmSaveDescriptor>();
    private static readonly int HeaderBytes = Marshal.SizeOf<HvmSaveHeader>();

    /// <summary>Bytes that a context of the domain may take.</summary>
    public static int MaxSize(Domain domain)
    {
        var size = (2 * DescriptorBytes) + HeaderBytes;
        foreach (var section in domain.ContextSections)
        {
            size += (DescriptorBytes + section.Length) * (section.IsPerVcpu ? domain.Vcpus.Count : 1);
        }

        return size;
    }

    /// <summary>Saves a domain that stands still.</summary>
    /// <returns>Bytes written.</returns>
    public static int Save(Domain domain, Span<byte> destination)
    {
        var at = 0;
        var header = new HvmSaveHeader
        {
            Magic = HvmSaveHeader.FileMagic,
            Version = HvmSaveHeader.FileVersion,
            Changeset = ~0UL,
        };
        WriteDescriptor(destination, ref at, HvmSaveCode.Header, 0, HeaderBytes);
        MemoryMarshal.Write(destination[at..], in header);
        at += HeaderBytes;
        foreach (var section in domain.ContextSections)
        {
            var instances = section.IsPerVcpu ? (uint)domain.Vcpus.Count : 1;
            for (uint instance = 0; instance < instances; instance++)
            {
                var start = at;
                WriteDescriptor(destination, ref at, section.TypeCode, (ushort)instance, section.Length);
                var record = destination.Slice(at, section.Length);
                record.Clear();
                at = section.TrySave(instance, record) ? at + section.Length : start;
            }
        }

        WriteDescriptor(destination, ref at, HvmSaveCode.End, 0, 0);
        return at;
    }

    /// <summary>Saves one record of a domain or vCPU that stands still.</summary>
    /// <returns>ENODATA, ENOENT: nothing is saved for this vCPU, this domain.</returns>
    public static Errno SaveOne(IHvmContextSection section, uint instance, Span<byte> record) =>
        section.TrySave(instance, record) ? Errno.None : section.IsPerVcpu ? Errno.ENODATA : Errno.ENOENT;

    /// <summary>Loads a context into a domain that stands still. vCPUs that have no record are down afterwards.</summary>
    /// <returns>ENODATA: no header, or no end; EINVAL: a record that cannot be.</returns>
    public static Errno Load(Domain domain, ReadOnlySpan<byte> source) => Load(domain, source, out _);

    /// <summary>Loads a context into a domain that stands still. vCPUs that have no record are down afterwards.</summary>
    /// <param name="domain">The domain.</param>
    /// <param name="source">The context.</param>
    /// <param name="at">The record that was looked at last: where it is refused, the one.</param>
    /// <returns>ENODATA: no header, or no end; EINVAL: a record that cannot be.</returns>
    public static Errno Load(Domain domain, ReadOnlySpan<byte> source, out HvmSaveDescriptor at)
    {
        if (!TryReadDescriptor(ref source, out at)
            || at.TypeCode != HvmSaveCode.Header || at.Length != HeaderBytes || source.Length < HeaderBytes)
        {
            return Errno.ENODATA;
        }

        var header = MemoryMarshal.Read<HvmSaveHeader>(source);
        if (header.Magic != HvmSaveHeader.FileMagic || header.Version != HvmSaveHeader.FileVersion)
        {
            return Errno.EINVAL;
        }

        source = source[HeaderBytes..];
        foreach (var vcpu in domain.Vcpus)
        {
            vcpu.Runner.Settle();
            vcpu.SetFlag(VcpuPauseFlags.Down);
        }

        while (TryReadDescriptor(ref source, out var descriptor))
        {
            at = descriptor;
            if (descriptor.TypeCode == HvmSaveCode.End)
            {
                return Errno.None;
            }

            var section = Find(domain, descriptor.TypeCode);
            if (section is null || descriptor.Length > section.Length || descriptor.Length > source.Length
                || (section.IsLengthExact && descriptor.Length != section.Length))
            {
                return Errno.EINVAL;
            }

            var record = new byte[section.Length];
            source[..(int)descriptor.Length].CopyTo(record);
            if (section.Load(descriptor.Instance, record) is var refused and not Errno.None)
            {
                return refused;
            }

            source = source[(int)descriptor.Length..];
        }

        return Errno.ENODATA;
    }

    /// <summary>The section of a type, or null.</summary>
    public static IHvmContextSection? Find(Domain domain, uint typeCode)
    {
        foreach (var section in domain.ContextSections)
        {
            if (section.TypeCode == typeCode)
            {
                return section;
            }
        }

        return null;
    }

    private static void WriteDescriptor(Span<byte> destination, ref int at, ushort type, ushort instance, int length)
    {
        var descriptor = new HvmSaveDescriptor { TypeCode = type, Instance = instance, Length = (uint)length };
        MemoryMarshal.Write(destination[at..], in descriptor);
        at += DescriptorBytes;
    }

    private static bool TryReadDescriptor(ref ReadOnlySpan<byte> source, out HvmSaveDescriptor descriptor)
    {
        if (!MemoryMarshal.TryRead(source, out descriptor))
        {
            return false;
        }

        source = source[DescriptorBytes..];
        return true;
    }
}

/// <summary>The CPU record of a context (<c>struct hvm_hw_cpu</c>).</summary>
internal sealed class CpuContextSection(Domain domain) : IHvmContextSection
{
    /// <inheritdoc/>
    public ushort TypeCode => HvmSaveCode.Cpu;

    /// <inheritdoc/>
    public string Name => "CPU record";

    /// <inheritdoc/>
    public bool IsPerVcpu => true;

    /// <inheritdoc/>
    public int Length { get; } = Marshal.SizeOf<HvmHwCpu>();

    /// <inheritdoc/>
    public bool TrySave(uint instance, Span<byte> record)
    {
        if (domain.FindVcpu(instance) is not { } vcpu)
        {
            return false;
        }

        // A vCPU that is down has no state worth saving; a context without it leaves it down.
        vcpu.Runner.Settle();
        if ((vcpu.Flags & VcpuPauseFlags.Down) != 0)
        {
            return false;
        }

        CpuRecords.Save(ref vcpu.Runner.State, vcpu.Runner.Rflags, vcpu.Runner.Tsc, out var saved);
        MemoryMarshal.Write(record, in saved);
        return true;
    }

    /// <inheritdoc/>
    public Errno Load(uint instance, ReadOnlySpan<byte> record)
    {
        var loaded = MemoryMarshal.Read<HvmHwCpu>(record);
        if (domain.FindVcpu(instance) is not { } vcpu || !IsPlausible(loaded) || !vcpu.Runner.IsLoadable(loaded))
        {
            return Errno.EINVAL;
        }

        CpuRecords.Load(ref vcpu.Runner.State, loaded);
        vcpu.Runner.Rflags = loaded.Rflags | AlwaysSet;
        vcpu.Runner.Tsc = loaded.Tsc;
        vcpu.Runner.StateReplaced();
        vcpu.IsInitialised = true;
        vcpu.ClearFlag(VcpuPauseFlags.Down);
        return Errno.None;
    }

    // Bit 1 of RFLAGS.
    private const ulong AlwaysSet = 2;

    // What no CPU of any model has; what depends on the CPUID policy is the runner's to know.
    private static bool IsPlausible(in HvmHwCpu record)
    {
        const ulong Cr0Known = 0xe005_003f;
        const ulong PgWithoutPe = 0x8000_0000;
        return (record.Cr0 & ~Cr0Known) == 0
            && (record.Cr0 & 0x10) != 0
            && (record.Cr0 & 0x8000_0001) != PgWithoutPe
            && (record.Flags & ~HvmHwCpu.FpuInitialised) == 0
            && record.MsrTscAux <= uint.MaxValue;
    }
}
