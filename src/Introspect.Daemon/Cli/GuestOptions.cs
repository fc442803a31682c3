using System.CommandLine;
using System.CommandLine.Parsing;
using Introspect.Daemon.Guests;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Xen;

namespace Introspect.Daemon.Cli;

/// <summary>The options that say which guest is built, or which hypervisor is asked.</summary>
internal sealed class GuestOptions
{
    private readonly Option<bool> _demo = new("--demo") { Description = "The built-in demo guest, on the core in this process" };
    private readonly Option<string?> _kernel = new("--kernel") { Description = "An ELF image with a PVH entry or a bzImage (vmlinuz) of one, on the core in this process", HelpName = "FILE" };
    private readonly Option<string?> _commandLine = new("--cmdline") { Description = "Command line of the kernel", HelpName = "TEXT" };
    private readonly Option<string[]> _modules = new("--module") { Description = "Module to load with the kernel (an initrd first); may be repeated", HelpName = "FILE" };
    private readonly Option<string?> _memory = new("--memory") { Description = $"Memory of the guest, MiB (default {HypervisorSpec.DefaultMemoryMiB})", HelpName = "MiB" };
    private readonly Option<string?> _vcpus = new("--vcpus") { Description = "vCPUs of the guest (default 1)", HelpName = "N" };
    private readonly Option<string?> _vendor = new("--vendor") { Description = "Virtualisation that the core plays: vmx (default) or svm", HelpName = "VENDOR", CompletionSources = { "vmx", "svm" } };

    private readonly Option<string?> _core = new("--core")
    {
        Description = "What of the core is to be otherwise than on Xen 4.17: report-unchanged, io, r_pw, interleaved (docs/vm-event.md)",
        HelpName = "FEATURE,...",
    };

    /// <summary>Connects to a hypervisor that listens on a socket.</summary>
    public Option<string?> Connect { get; } = new("--connect", "--socket") { Description = "Socket of a hypervisor ('introspect lab'); without it this user's own lab, where there is one", HelpName = "SOCKET" };

    private Option<string?> Kind { get; } = new("--hypervisor") { Description = "auto (default: Xen in its dom0), xen, or core (with --connect, --kernel or --demo)", HelpName = "KIND", CompletionSources = { "auto", "xen", "core" } };

    /// <summary>Adds the options that say which hypervisor is asked.</summary>
    public void AddHypervisorTo(Command command)
    {
        command.Add(Connect);
        command.Add(Kind);
    }

    /// <summary>Adds the options that build a guest.</summary>
    public void AddTo(Command command)
    {
        command.Add(_demo);
        command.Add(_kernel);
        command.Add(_commandLine);
        command.Add(_modules);
        command.Add(_memory);
        command.Add(_vcpus);
        command.Add(_vendor);
        command.Add(_core);
    }

    /// <summary>The guest to build, when one is asked for.</summary>
    /// <param name="result">The command line.</param>
    /// <param name="needsGuest">False where the core is made without a guest, too.</param>
    /// <exception cref="UserError">Options that contradict each other, or values out of range.</exception>
    public HypervisorSpec? ReadBuilt(ParseResult result, bool needsGuest = true)
    {
        var demo = result.GetValue(_demo);
        var kernel = result.GetValue(_kernel);
        if (demo && kernel is not null)
        {
            throw UserError.Usage("--demo and --kernel exclude each other; give one");
        }

        Option[] kernelOnly = [_commandLine, _modules];
        if (kernel is null && kernelOnly.FirstOrDefault(o => IsGiven(result, o)) is { } without)
        {
            throw UserError.Usage($"{without.Name} belongs to a kernel; give --kernel FILE, too");
        }

        Option[] buildOnly = needsGuest ? [_memory, _vcpus, _vendor, _core] : [_memory, _vcpus, _vendor];
        if (!demo && kernel is null)
        {
            return buildOnly.FirstOrDefault(o => IsGiven(result, o)) is { } stray
                ? throw UserError.Usage($"{stray.Name} belongs to a guest that is built; give --demo or --kernel FILE, too")
                : null;
        }

        return new()
        {
            Source = demo ? HypervisorSource.Demo : HypervisorSource.Kernel,
            KernelPath = kernel,
            CommandLine = result.GetValue(_commandLine) ?? "",
            Modules = result.GetValue(_modules) ?? [],
            MemoryMiB = ReadMemory(result.GetValue(_memory)),
            Vcpus = ReadVcpus(result.GetValue(_vcpus)),
            Vendor = ReadVendor(result.GetValue(_vendor)),
            Core = ReadCore(result),
        };
    }

    /// <summary>What of the core is to be otherwise.</summary>
    /// <exception cref="UserError">A feature that is not there.</exception>
    public CoreFeatures ReadCore(ParseResult result)
    {
        var features = CoreFeatures.None;
        foreach (var name in result.GetValue(_core)?.Split(',', StringSplitOptions.TrimEntries) ?? [])
        {
            features |= name switch
            {
                "report-unchanged" => CoreFeatures.ReportUnchanged,
                "io" => CoreFeatures.IoInstructions,
                "r_pw" => CoreFeatures.PagingWrites,
                "interleaved" => CoreFeatures.Interleaved,
                _ => throw UserError.Usage($"--core: '{name}' is unknown; write report-unchanged, io, r_pw or interleaved"),
            };
        }

        return features;
    }

    /// <summary>Refuses a guest to build where Xen is asked for.</summary>
    /// <exception cref="UserError">It is.</exception>
    public void RefuseXen(ParseResult result)
    {
        if (ReadKind(result) == HypervisorKind.Xen)
        {
            throw UserError.Usage("--hypervisor xen and a guest to build exclude each other: --demo and --kernel run on the core");
        }
    }

    /// <summary>The hypervisor on the socket that is named, or real Xen.</summary>
    /// <exception cref="UserError">No socket is named, and this is not Xen's control domain.</exception>
    public HypervisorSpec ReadConnected(ParseResult result, string command)
    {
        var kind = ReadKind(result);
        if (result.GetValue(Connect) is not { } path)
        {
            return kind == HypervisorKind.Xen || (kind == HypervisorKind.Auto && XenHypervisor.IsControlDomain)
                ? new() { Source = HypervisorSource.Xen }
                : LabSocket.DefaultPath(Environment.GetEnvironmentVariable) is var own && File.Exists(own) ? new() { Source = HypervisorSource.Socket, SocketPath = own }
                : throw UserError.Usage($"'{command}' needs a hypervisor; give --connect SOCKET, where 'introspect lab serve --socket SOCKET' listens, or run it in Xen's dom0");
        }

        if (kind == HypervisorKind.Xen)
        {
            throw UserError.Usage("--connect and --hypervisor xen exclude each other; give one");
        }

        return new() { Source = HypervisorSource.Socket, SocketPath = path };
    }

    /// <summary>True when the user wrote the option.</summary>
    public static bool IsGiven(ParseResult result, Option option) => result.GetResult(option) is OptionResult { Implicit: false };

    private HypervisorKind ReadKind(ParseResult result) => result.GetValue(Kind)?.ToLowerInvariant() switch
    {
        null or "auto" => HypervisorKind.Auto,
        "core" => HypervisorKind.Core,
        "xen" => HypervisorKind.Xen,
        var text => throw UserError.Usage($"--hypervisor: '{text}' is unknown; write auto, core or xen"),
    };

    private enum HypervisorKind
    {
        Auto,
        Core,
        Xen,
    }

    private static int ReadMemory(string? text) => text is null ? HypervisorSpec.DefaultMemoryMiB
        : !SelectionParser.TryNumber(text, out var size) ? throw UserError.Usage($"--memory: '{text}' is no number; write MiB, for example 64")
        : size is < HypervisorSpec.MinMemoryMiB or > HypervisorSpec.MaxMemoryMiB
            ? throw UserError.Usage($"--memory: {text} MiB is too {(size < HypervisorSpec.MinMemoryMiB ? "small" : "large")}; give {HypervisorSpec.MinMemoryMiB} to {HypervisorSpec.MaxMemoryMiB}")
            : (int)size;

    private static int ReadVcpus(string? text) => text is null ? 1
        : SelectionParser.TryNumber(text, out var count) && count is >= 1 and <= HypervisorSpec.MaxVcpus ? (int)count
        : throw UserError.Usage($"--vcpus: '{text}' is no number of vCPUs from 1 to {HypervisorSpec.MaxVcpus}");

    private static CpuVendor ReadVendor(string? text) => text?.ToLowerInvariant() switch
    {
        null or "vmx" => CpuVendor.Vmx,
        "svm" => CpuVendor.Svm,
        _ => throw UserError.Usage($"--vendor: '{text}' is unknown; write vmx or svm"),
    };
}
