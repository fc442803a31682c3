using System.Diagnostics.CodeAnalysis;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Names;

namespace Introspect.Rules.Language;

/// <summary>
/// Names that the values of a field have: <c>register == CR4</c>, <c>msr == LSTAR</c>. They mean these values only where
/// they are compared with such a field.
/// </summary>
internal sealed class Vocabulary
{
    private readonly Dictionary<string, ulong> _values = new(StringComparer.OrdinalIgnoreCase);
    private readonly Dictionary<ulong, string> _names = [];

    private Vocabulary(string what, bool isStrict, IEnumerable<(ulong Value, string Name)> names, bool isFlags = false)
    {
        What = what;
        IsStrict = isStrict;
        IsFlags = isFlags;
        foreach (var (value, name) in names)
        {
            _values[name] = value;
            _names.TryAdd(value, name);
        }
    }

    public static Vocabulary Reason { get; } = new("reason", true, Enum.GetValues<VmEventReason>().Select(r => ((ulong)r, ReasonNames.Of(r))));

    public static Vocabulary Register { get; } = new(
        "register",
        true,
        [
            ((ulong)ControlRegisterIndex.Cr0, "cr0"), ((ulong)ControlRegisterIndex.Cr3, "cr3"), ((ulong)ControlRegisterIndex.Cr4, "cr4"),
            ((ulong)ControlRegisterIndex.Xcr0, "xcr0"),
            (Descriptor(DescriptorRegister.Idtr), "idtr"), (Descriptor(DescriptorRegister.Gdtr), "gdtr"),
            (Descriptor(DescriptorRegister.Ldtr), "ldtr"), (Descriptor(DescriptorRegister.Tr), "tr"),
        ]);

    public static Vocabulary Msr { get; } = new("MSR", false, MsrNames.Everything.Select(m => ((ulong)m.Number, m.Name)));

    /// <summary>Rights as <c>rwx</c>, with dashes or without; and as words.</summary>
    public static Vocabulary Rights { get; } = new("access", true, RightsNames(), isFlags: true);

    public static Vocabulary Load { get; } = new("access", true, [(0, "store"), (1, "load")]);

    public static Vocabulary Direction { get; } = new("direction", true, [(0, "out"), (1, "in")]);

    public static Vocabulary Vendor { get; } = new("vendor", true, [((ulong)CpuVendor.Vmx, "vmx"), ((ulong)CpuVendor.Svm, "svm")]);

    public static Vocabulary Trap { get; } = new(
        "trap",
        true,
        [
            (0, "external_interrupt"), (2, "nmi"), (3, "hardware_exception"), (4, "software_interrupt"),
            (5, "privileged_software_exception"), (6, "software_exception"),
        ]);

    public static Vocabulary Weekday { get; } = new("weekday", true, Enum.GetValues<DayOfWeek>().Select(d => ((ulong)d, d.ToString().ToLowerInvariant())));

    /// <summary>What the names are names of.</summary>
    public string What { get; }

    /// <summary>True when the values are known by their names alone, and numbers mean nothing.</summary>
    public bool IsStrict { get; }

    /// <summary>True when several can be at once.</summary>
    public bool IsFlags { get; }

    /// <summary>Every name.</summary>
    public IReadOnlyCollection<string> Names => _values.Keys;

    /// <summary>The value that a descriptor register has beside the control registers.</summary>
    public static ulong Descriptor(DescriptorRegister register) => 0x10 + (ulong)register;

    public bool TryGetValue(string name, out ulong value) => _values.TryGetValue(name, out value);

    public bool TryGetName(ulong value, [NotNullWhen(true)] out string? name) => _names.TryGetValue(value, out name);

    private static IEnumerable<(ulong, string)> RightsNames()
    {
        for (var rights = 0UL; rights < 8; rights++)
        {
            var text = $"{((rights & 1) != 0 ? 'r' : '-')}{((rights & 2) != 0 ? 'w' : '-')}{((rights & 4) != 0 ? 'x' : '-')}";
            yield return (rights, text);
            if (rights != 0)
            {
                yield return (rights, text.Replace("-", "", StringComparison.Ordinal));
            }
        }

        yield return (1, "read");
        yield return (2, "write");
        yield return (4, "execute");
    }
}
