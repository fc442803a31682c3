using System.Globalization;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Hypervisor.Core.Policies;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Introspect.Daemon.Describing;

/// <summary>Reads the description of a domain from YAML. A mistake is one line with the file, the line and the remedy.</summary>
internal sealed class DomainDescriptionFile
{
    private const long MaxBytes = 1 << 20;

    private readonly string _file;

    private DomainDescriptionFile(string file) => _file = file;

    /// <summary>Reads a file.</summary>
    /// <exception cref="UserError">It cannot be read, or says what cannot be.</exception>
    public static DomainDescription Read(string path)
    {
        string text;
        try
        {
            if (new FileInfo(path).Length > MaxBytes)
            {
                throw UserError.Usage($"'{path}' has more than {MaxBytes} bytes; a description of a domain is a few lines");
            }

            text = File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw UserError.Usage($"'{path}' cannot be read: {e.Message}");
        }

        return Parse(path, text);
    }

    /// <summary>Reads a description.</summary>
    /// <param name="file">Its name, for mistakes.</param>
    /// <param name="text">YAML.</param>
    /// <exception cref="UserError">It says what cannot be.</exception>
    public static DomainDescription Parse(string file, string text)
    {
        IList<YamlDocument> documents;
        try
        {
            documents = YamlText.Read(text);
        }
        catch (YamlException e)
        {
            throw UserError.Usage($"{file}:{e.Start.Line}: no YAML: {e.Message}");
        }

        var reader = new DomainDescriptionFile(file);
        return documents.Count == 1 && documents[0].RootNode is YamlMappingNode root
            ? reader.ReadDomain(root)
            : throw UserError.Usage($"{file}: a description is one mapping, as 'arch: arm'; see docs/domain-roles.md");
    }

    private DomainDescription ReadDomain(YamlMappingNode root)
    {
        var domain = new DomainDescription();
        YamlMappingNode? machine = null;
        foreach (var (key, value) in root.Children)
        {
            domain = Text(key) switch
            {
                "name" => domain with { Name = Text(value) },
                "arch" => domain with { Architecture = Choice(key, value, ("x86", DescribedArchitecture.X86), ("arm", DescribedArchitecture.Arm)) },
                "hardware" => domain with { Roles = WithRole(domain.Roles, DomainRoles.Hardware, key, value) },
                "control" => domain with { Roles = WithRole(domain.Roles, DomainRoles.Control, key, value) },
                "gic" => domain with { Gic = Choice(key, value, ("2", GicVersion.V2), ("3", GicVersion.V3)) },
                "nr_spis" => domain with { SharedLines = (uint)Number(key, value, 960) },
                "machine" => KeepMachine(key, value),
                _ => throw Unknown(key, "name, arch, hardware, control, gic, nr_spis, machine"),
            };
        }

        // What it does not say of the machine depends on the GIC, which may come after it.
        return machine is null ? domain : domain with { Machine = ReadMachine(machine, ArmMachine.QemuVirt(domain.Gic)) };

        DomainDescription KeepMachine(YamlNode key, YamlNode value)
        {
            machine = Mapping(key, value);
            return domain;
        }
    }

    private ArmMachine ReadMachine(YamlMappingNode node, ArmMachine machine)
    {
        foreach (var (key, value) in node.Children)
        {
            machine = Text(key) switch
            {
                "gic_lines" when Number(key, value, 1020) is >= 32 and var lines => machine with { GicLines = (uint)lines },
                "gic_lines" => throw Wrong(key, value, "a number from 32 to 1020"),
                "distributor" => machine with { Distributor = Range(key, value) },
                "cpu_interface" => machine with { CpuInterface = Range(key, value) },
                "virtual_timer" => machine with { Timers = machine.Timers with { Virtual = PrivateInterrupt(key, value) } },
                "secure_timer" => machine with { Timers = machine.Timers with { PhysicalSecure = PrivateInterrupt(key, value) } },
                "physical_timer" => machine with { Timers = machine.Timers with { PhysicalNonSecure = PrivateInterrupt(key, value) } },
                "uart" => machine with { Uart = Text(value) == "none" ? null : Range(key, value) },
                _ => throw Unknown(key, "gic_lines, distributor, cpu_interface, virtual_timer, secure_timer, physical_timer, uart"),
            };
        }

        return machine;
    }

    private DomainRoles WithRole(DomainRoles roles, DomainRoles role, YamlNode key, YamlNode value) =>
        Choice(key, value, ("true", true), ("false", false)) ? roles | role : roles & ~role;

    private uint PrivateInterrupt(YamlNode key, YamlNode value) =>
        Number(key, value, 31) is >= 16 and var number ? (uint)number : throw Wrong(key, value, "an interrupt that is private to a CPU, 16 to 31");

    private ArmRange Range(YamlNode key, YamlNode value)
    {
        var parts = Text(value).Split('+');
        return parts.Length == 2 && TryNumber(parts[0], out var start) && TryNumber(parts[1], out var size) && size != 0 && start + size > start
            ? new(start, size)
            : throw Wrong(key, value, "a range as 0x9000000+0x1000");
    }

    private ulong Number(YamlNode key, YamlNode value, ulong most) =>
        TryNumber(Text(value), out var number) && number <= most ? number : throw Wrong(key, value, $"a number up to {most}");

    private T Choice<T>(YamlNode key, YamlNode value, params (string Text, T Value)[] choices)
    {
        var text = Text(value);
        foreach (var choice in choices)
        {
            if (choice.Text == text)
            {
                return choice.Value;
            }
        }

        throw Wrong(key, value, string.Join(" or ", choices.Select(static choice => choice.Text)));
    }

    private YamlMappingNode Mapping(YamlNode key, YamlNode value) => value as YamlMappingNode ?? throw Wrong(key, value, "a mapping");

    private UserError Wrong(YamlNode key, YamlNode value, string wanted) =>
        UserError.Usage($"{_file}:{key.Start.Line}: {Text(key)}: '{Text(value)}' cannot be; write {wanted}");

    private UserError Unknown(YamlNode key, string known) =>
        UserError.Usage($"{_file}:{key.Start.Line}: '{Text(key)}' is unknown; write one of {known}");

    private static string Text(YamlNode node) => (node as YamlScalarNode)?.Value ?? "…";

    private static bool TryNumber(string text, out ulong number) => text.StartsWith("0x", StringComparison.Ordinal)
        ? ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out number)
        : ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number);
}
