using System.Globalization;
using System.Text;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Hypervisors;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Lab;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Daemon.Guests;

/// <summary>Reads a guest's configuration: the part of xl.cfg that the core has something for.</summary>
internal sealed class GuestConfigReader
{
    private const int MostFileBytes = 1 << 18;
    private const int MostName = 255;
    private const int MostMistakes = 100;

    // What xl gives a guest whose configuration says nothing.
    private const long DefaultMemoryMiB = 32;
    private const ulong KiBInMiB = 1024;

    private static readonly OrderedDictionary<string, EndAction> Actions = new()
    {
        ["destroy"] = EndAction.Destroy,
        ["restart"] = EndAction.Restart,
        ["rename-restart"] = EndAction.RenameRestart,
        ["preserve"] = EndAction.Preserve,
        ["coredump-destroy"] = EndAction.CoredumpDestroy,
        ["coredump-restart"] = EndAction.CoredumpRestart,
    };

    private static readonly OrderedDictionary<string, uint> AltP2mModes = new()
    {
        ["disabled"] = 0,
        ["mixed"] = 1,
        ["external"] = 2,
        ["limited"] = 3,
        ["0"] = 0,
        ["1"] = 1,
        ["2"] = 2,
        ["3"] = 3,
    };

    private readonly string _name;
    private readonly SettingReader _settings;
    private readonly List<(XlPlace Place, string What)> _mistakes;
    private readonly List<string> _warnings = [];

    // What seems to be missing may stand where nothing could be read.
    private readonly bool _isWhole;

    private GuestConfigReader(string name, IReadOnlyDictionary<string, XlSetting> settings, List<(XlPlace Place, string What)> mistakes)
    {
        (_name, _mistakes, _isWhole) = (name, mistakes, mistakes.Count == 0);
        _settings = new SettingReader(settings, (place, what) => _mistakes.Add((place, what)));
    }

    /// <summary>Reads a file with a guest's configuration, and settings that are put over it.</summary>
    /// <param name="path">The file.</param>
    /// <param name="overrides">Settings (<c>key=value</c>), each as a line of its own.</param>
    /// <exception cref="UserError">The file cannot be read.</exception>
    /// <exception cref="ConfigurationMistakes">Something is wrong with it.</exception>
    public static GuestConfig Load(string path, IReadOnlyList<string> overrides)
    {
        var bytes = InputFile.Read(path, "configuration");
        if (bytes.Length > MostFileBytes)
        {
            throw new ConfigurationMistakes(path, [$"{path}:1:1: this has {bytes.Length} bytes: a configuration has at most {MostFileBytes}"]);
        }

        string text;
        try
        {
            text = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true).GetString(bytes);
        }
        catch (DecoderFallbackException wrong)
        {
            var line = bytes.AsSpan(0, Math.Clamp(wrong.Index, 0, bytes.Length)).Count((byte)'\n') + 1;
            throw new ConfigurationMistakes(path, [$"{path}:{line}:1: this is no text in UTF-8: write the line anew"]);
        }

        return Read([new(path, text), .. overrides.Select(static setting => new ConfigText($"'{setting}'", setting))]);
    }

    /// <summary>Reads texts, of which each adds to those before.</summary>
    /// <exception cref="ConfigurationMistakes">Something is wrong; all of it is told.</exception>
    public static GuestConfig Read(IReadOnlyList<ConfigText> texts) =>
        TryRead(texts, out var mistakes) ?? throw new ConfigurationMistakes(texts[0].Name, mistakes);

    /// <summary>Reads texts, of which each adds to those before.</summary>
    /// <returns>Null: something is wrong.</returns>
    public static GuestConfig? TryRead(IReadOnlyList<ConfigText> texts, out IReadOnlyList<string> wrong)
    {
        var settings = new Dictionary<string, XlSetting>(StringComparer.Ordinal);
        var mistakes = new List<(XlPlace Place, string What)>();
        foreach (var text in texts)
        {
            XlParser.Read(text.Name, text.Text, settings, (place, what) => mistakes.Add((place, what)));
        }

        var config = new GuestConfigReader(texts[0].Name, settings, mistakes).Read();
        wrong = mistakes.Count == 0 ? [] : Describe(texts[0].Name, mistakes);
        return wrong.Count == 0 ? config : null;
    }

    // In the order of the file, and no more than somebody reads.
    private static List<string> Describe(string name, List<(XlPlace Place, string What)> mistakes)
    {
        var ordered = mistakes.OrderBy(m => m.Place.File != name).ThenBy(m => m.Place.Line).ThenBy(m => m.Place.Column).ToList();
        var lines = ordered.Take(MostMistakes).Select(m => UserError.OneLine($"{m.Place}: {m.What}")).Distinct().ToList();
        if (ordered.Count > MostMistakes)
        {
            lines.Add(string.Create(CultureInfo.InvariantCulture, $"{ordered[MostMistakes].Place}: {ordered.Count - MostMistakes} more mistakes from here on: mend those before first"));
        }

        return lines;
    }

    private GuestConfig Read()
    {
        var description = new LabDescription
        {
            Name = ReadName(),
            Uuid = ReadUuid(),
            Kernel = ReadKernel(),
            Modules = _settings.Text("ramdisk") is { Length: > 0 } ramdisk ? [Path.GetFullPath(ramdisk)] : [],
            CommandLine = ReadCommandLine(),
            MemoryKiB = ReadMemory(out var most),
            MaxMemoryKiB = most,
            Vcpus = ReadVcpus(),
            Svm = _settings.Word("lab_vendor", new OrderedDictionary<string, bool> { ["vmx"] = false, ["svm"] = true }) ?? false,
            Interleaved = _settings.Boolean("lab_interleaved") ?? false,
            IsControlDomain = _settings.Boolean("lab_control") ?? false,
            AltP2m = ReadAltP2m(),
            AltP2mViews = (uint)(_settings.Number("altp2m_count", 0, 512) ?? 0),
            Viridian = ReadViridian().ToMask(),
            WithoutCpuFeatures = ReadCpuid(),
            OnPoweroff = ReadAction("on_poweroff") ?? EndAction.Destroy,
            OnReboot = ReadAction("on_reboot") ?? EndAction.Restart,
            OnCrash = ReadAction("on_crash") ?? EndAction.Destroy,
            OnWatchdog = ReadAction("on_watchdog") ?? EndAction.Destroy,
        };
        ReadSoftReset(description.OnReboot);
        ReadType();
        ReadFixed();
        foreach (var unknown in _settings.Unknown)
        {
            _warnings.Add($"{unknown.Place}: '{unknown.Key}' means nothing to the lab, and is ignored");
        }

        return new(description, _warnings);
    }

    private string ReadName()
    {
        var name = _settings.Text("name");
        if (name is null && _isWhole && _settings.Find("name") is null)
        {
            _mistakes.Add((new(_name, 1, 1), "'name' is missing: write name = \"...\""));
        }
        else if (name is not null && (name.Length is 0 or > MostName || name.Any(char.IsControl) || name.All(char.IsAsciiDigit)))
        {
            _settings.Refuse("name", $"name: a domain cannot be called so: write 1 to {MostName} characters, not only digits, and none of control");
        }

        return name ?? "";
    }

    private Guid? ReadUuid()
    {
        if (_settings.Text("uuid") is not { } text)
        {
            return null;
        }

        if (Guid.TryParseExact(text, "D", out var uuid) && uuid != Guid.Empty)
        {
            return uuid;
        }

        _settings.Refuse("uuid", $"uuid: '{text}' is none: write 8-4-4-4-12 hexadecimal digits, or leave it out for a new one");
        return null;
    }

    private string? ReadKernel()
    {
        var kernel = _settings.Text("kernel");
        if (kernel is { Length: > 0 })
        {
            return LabKernels.IsBuiltIn(kernel) ? kernel : Path.GetFullPath(kernel);
        }

        if (kernel is not null || (_isWhole && _settings.Find("kernel") is null))
        {
            _mistakes.Add((_settings.Find("kernel")?.Value.Place ?? new(_name, 1, 1), $"'kernel' is missing: name an ELF image with a PVH entry or a bzImage, or write \"{LabKernels.Demo}\""));
        }

        return null;
    }

    private string ReadCommandLine()
    {
        var (line, root, extra) = (_settings.Text("cmdline"), _settings.Text("root"), _settings.Text("extra"));
        if (line is null)
        {
            return string.Join(' ', new[] { root is { Length: > 0 } ? $"root={root}" : null, extra }.Where(static part => part is { Length: > 0 }));
        }

        foreach (var key in new[] { "root", "extra" })
        {
            if (_settings.Find(key) is { } ignored)
            {
                _warnings.Add($"{ignored.Place}: '{key}' is ignored, as 'cmdline' says all");
            }
        }

        return line;
    }

    private ulong ReadMemory(out ulong most)
    {
        var memory = _settings.Number("memory", HypervisorSpec.MinMemoryMiB, HypervisorSpec.MaxMemoryMiB, " MiB");
        var limit = _settings.Number("maxmem", HypervisorSpec.MinMemoryMiB, HypervisorSpec.MaxMemoryMiB, " MiB");
        if (memory > limit)
        {
            _settings.Refuse("maxmem", string.Create(CultureInfo.InvariantCulture, $"maxmem: {limit} MiB are less than memory, {memory} MiB: give as much or more"));
        }

        memory ??= limit ?? DefaultMemoryMiB;
        most = (ulong)(limit ?? 0) * KiBInMiB;
        return (ulong)memory * KiBInMiB;
    }

    private uint ReadVcpus()
    {
        var count = _settings.Number("vcpus", 1, HypervisorSpec.MaxVcpus);
        var most = _settings.Number("maxvcpus", 1, HypervisorSpec.MaxVcpus);
        if (count > most)
        {
            _settings.Refuse("maxvcpus", string.Create(CultureInfo.InvariantCulture, $"maxvcpus: {most} are fewer than vcpus, {count}: give as many or more"));
        }
        else if (most > (count ?? 1))
        {
            _warnings.Add(string.Create(CultureInfo.InvariantCulture, $"{_settings.Find("maxvcpus")!.Place}: 'maxvcpus' is ignored: no vCPU can come later, the domain has {count ?? 1}"));
        }

        return (uint)(count ?? 1);
    }

    private uint ReadAltP2m()
    {
        var mode = _settings.Word("altp2m", AltP2mModes);
        if (_settings.Boolean("altp2mhvm") is not { } old)
        {
            return mode ?? 0;
        }

        _warnings.Add($"{_settings.Find("altp2mhvm")!.Place}: 'altp2mhvm' is deprecated: write altp2m = \"mixed\"");
        return mode ?? (old ? AltP2mModes["mixed"] : 0);
    }

    private ViridianFeatureSet ReadViridian()
    {
        if (_settings.Find("viridian") is not { } setting)
        {
            return ViridianFeatureSet.None;
        }

        var places = new List<XlPlace>();
        ViridianListResult result;
        if (setting.Value is XlList list)
        {
            var names = new List<string>();
            foreach (var item in list.Items)
            {
                if (item is not XlAtom name)
                {
                    _mistakes.Add((item.Place, "viridian: a list stands where a name in quotes is expected"));
                    return ViridianFeatureSet.None;
                }

                names.Add(name.Text);
                places.Add(name.Place);
            }

            result = ViridianFeatureList.Parse(names);
        }
        else
        {
            var atom = (XlAtom)setting.Value;
            result = SettingReader.TryNumber(atom.Text, out var number)
                ? ViridianFeatureList.FromBoolean(number != 0)
                : ViridianFeatureList.Parse(atom.Text.Split([',', ' '], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
        }

        if (result.Error is { } error)
        {
            _mistakes.Add((result.ErrorIndex >= 0 && result.ErrorIndex < places.Count ? places[result.ErrorIndex] : setting.Value.Place, error));
        }

        if (result.Warning is { } warning)
        {
            _warnings.Add($"{setting.Place}: {warning}");
        }

        return result.Features;
    }

    private IReadOnlyList<string> ReadCpuid()
    {
        if (_settings.Find("cpuid") is not { } setting)
        {
            return [];
        }

        if (setting.Value is XlAtom atom)
        {
            return CpuidSetting.Read(atom.Text, what => _mistakes.Add((atom.Place, what)));
        }

        var entries = new List<string>();
        foreach (var item in ((XlList)setting.Value).Items)
        {
            if (item is not XlAtom entry)
            {
                _mistakes.Add((item.Place, "cpuid: a list stands where a leaf in quotes is expected"));
                return [];
            }

            entries.Add(entry.Text);
        }

        return XendCpuidSetting.Read(entries, (index, what) => _mistakes.Add((((XlList)setting.Value).Items[index].Place, what)));
    }

    private EndAction? ReadAction(string key)
    {
        if (_settings.Find(key) is { Value: XlAtom { Text: "soft-reset" } })
        {
            _settings.Refuse(key, $"{key}: 'soft-reset' cannot be done, as the core starts no kernel in a domain that goes on; write {string.Join(", ", Actions.Keys)}");
            return null;
        }

        return _settings.Word(key, Actions);
    }

    // The keeper takes a soft reset for a reboot.
    private void ReadSoftReset(EndAction onReboot)
    {
        if (_settings.Find("on_soft_reset") is { Value: XlAtom { Text: "soft-reset" } })
        {
            return;
        }

        if (ReadAction("on_soft_reset") is { } wanted && wanted != onReboot)
        {
            _warnings.Add($"{_settings.Find("on_soft_reset")!.Place}: 'on_soft_reset' is ignored: a soft reset does what 'on_reboot' says");
        }
    }

    private void ReadType()
    {
        if (_settings.Text("type") is { } type && type is not ("pvh" or "hvm"))
        {
            _settings.Refuse("type", $"type: '{type}' is {(type == "pv" ? "not for this core" : "unknown")}: write pvh, or hvm with a kernel");
        }

        if (_settings.Text("builder") is { } builder)
        {
            if (builder is not ("hvm" or "generic"))
            {
                _settings.Refuse("builder", $"builder: '{builder}' is unknown: write type = \"pvh\"");
            }
            else
            {
                _warnings.Add($"{_settings.Find("builder")!.Place}: 'builder' is deprecated: write type = \"{(builder == "hvm" ? "hvm" : "pvh")}\"");
            }
        }
    }

    // What is so in any case, and what never is; and what has nothing to act on.
    private void ReadFixed()
    {
        foreach (var (key, wanted) in new[] { ("hap", true), ("pae", true), ("nx", true), ("apic", true), ("nestedhvm", false), ("pvshim", false) })
        {
            if (_settings.Boolean(key) is { } value && value != wanted)
            {
                _settings.Refuse(key, $"{key}: {(wanted ? "it cannot be turned off for a domain of the core" : "the core does not have it")}: leave it out");
            }
        }

        _settings.Text("firmware_override");
    }
}
