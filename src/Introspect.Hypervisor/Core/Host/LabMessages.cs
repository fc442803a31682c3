using System.Text.Json;
using System.Text.Json.Serialization;

namespace Introspect.Hypervisor.Core.Host;

/// <summary>What becomes of a domain when it ends by itself (<c>on_poweroff</c> and its like).</summary>
[JsonConverter(typeof(JsonStringEnumConverter<EndAction>))]
internal enum EndAction
{
    /// <summary>It goes.</summary>
    Destroy,

    /// <summary>It is built anew, with the same UUID and another number.</summary>
    Restart,

    /// <summary>It stays as it ended, under another name and UUID, and is built anew.</summary>
    RenameRestart,

    /// <summary>It stays as it ended.</summary>
    Preserve,

    /// <summary>Its core is dumped, and it goes.</summary>
    CoredumpDestroy,

    /// <summary>Its core is dumped, and it is built anew.</summary>
    CoredumpRestart,
}

/// <summary>What becomes of a domain that was saved.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<AfterSave>))]
internal enum AfterSave
{
    /// <summary>It goes: it lives on in the file.</summary>
    Destroy,

    /// <summary>It stays, paused.</summary>
    Pause,

    /// <summary>It goes on.</summary>
    Continue,
}

/// <summary>What a domain is to be. It is kept with the domain, and in its saved file, to build it anew.</summary>
internal sealed record LabDescription
{
    /// <summary>Name.</summary>
    public required string Name { get; init; }

    /// <summary>UUID; null: a new one.</summary>
    public Guid? Uuid { get; init; }

    /// <summary>Path of the kernel, from the root: the host reads it, at every start. Null, or <c>builtin:demo</c>: the built-in demo guest.</summary>
    public string? Kernel { get; init; }

    /// <summary>Paths of modules, from the root; the first is the initial ramdisk.</summary>
    public IReadOnlyList<string> Modules { get; init; } = [];

    /// <summary>Kernel command line.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>Memory in KiB.</summary>
    public required ulong MemoryKiB { get; init; }

    /// <summary>Most memory in KiB that the guest can get; 0: no more than it has.</summary>
    public ulong MaxMemoryKiB { get; init; }

    /// <summary>vCPUs.</summary>
    public uint Vcpus { get; init; } = 1;

    /// <summary>Plays AMD-V; else Intel VT-x.</summary>
    public bool Svm { get; init; }

    /// <summary>vCPUs run on one thread by turns and time follows instructions.</summary>
    public bool Interleaved { get; init; }

    /// <summary>Who may use altp2m, as HVM_PARAM_ALTP2M has it; 0: nobody yet.</summary>
    public uint AltP2m { get; init; }

    /// <summary>Views of altp2m; 0: as many as there are by default.</summary>
    public uint AltP2mViews { get; init; }

    /// <summary>Viridian features, as HVM_PARAM_VIRIDIAN has them.</summary>
    public ulong Viridian { get; init; }

    /// <summary>CPU features that the guest is not told, by their names.</summary>
    public IReadOnlyList<string> WithoutCpuFeatures { get; init; } = [];

    /// <summary>When it powers itself off.</summary>
    public EndAction OnPoweroff { get; init; } = EndAction.Destroy;

    /// <summary>When it reboots.</summary>
    public EndAction OnReboot { get; init; } = EndAction.Restart;

    /// <summary>When it crashes.</summary>
    public EndAction OnCrash { get; init; } = EndAction.Destroy;

    /// <summary>When its watchdog fires.</summary>
    public EndAction OnWatchdog { get; init; } = EndAction.Destroy;

    /// <summary>It may manage other domains.</summary>
    public bool IsControlDomain { get; init; }

    /// <summary>It is not let run at first.</summary>
    public bool StartPaused { get; init; }
}

/// <summary>Where to save a domain.</summary>
/// <param name="Path">Path of the file, from the root: the host writes it, for its owner alone.</param>
/// <param name="Then">What becomes of the domain.</param>
internal sealed record LabSaveRequest(string Path, AfterSave Then = AfterSave.Destroy);

/// <summary>Where to dump a domain's core.</summary>
/// <param name="Path">Path of the file, from the root: the host writes it, for its owner alone.</param>
internal sealed record LabDumpRequest(string Path);

/// <summary>What to restore.</summary>
/// <param name="Path">Path of the file, from the root.</param>
/// <param name="Name">Another name; null: as it was.</param>
/// <param name="Uuid">Another UUID; null: as it was.</param>
/// <param name="StartPaused">It is not let run at first.</param>
internal sealed record LabRestoreRequest(string Path, string? Name = null, Guid? Uuid = null, bool StartPaused = false);

/// <summary>How a domain fares.</summary>
internal sealed record LabReport
{
    /// <summary>UUID, by which it is the same over its reboots.</summary>
    public required Guid Uuid { get; init; }

    /// <summary>Name.</summary>
    public required string Name { get; init; }

    /// <summary>Its number now, or the last it had.</summary>
    public required ushort Domain { get; init; }

    /// <summary>How often it was built: 1, and one more for each reboot.</summary>
    public int Boot { get; init; } = 1;

    /// <summary>Its life is over: it has gone, or stays as it ended.</summary>
    public bool HasEnded { get; init; }

    /// <summary>Why it ended the last time it did: <c>poweroff</c>, <c>reboot</c>, <c>suspend</c>, <c>crash</c>, <c>watchdog</c>, <c>destroyed</c> by somebody, <c>saved</c>; null: it never did.</summary>
    public string? Reason { get; init; }

    /// <summary>What could not be done at its end, in one line; null: nothing.</summary>
    public string? Failure { get; init; }

    /// <summary>What the image that it boots lacks, in one line; null: nothing.</summary>
    public string? Warning { get; init; }

    /// <summary>What it was created from, where that is known.</summary>
    public LabDescription? Description { get; init; }
}

/// <summary>Requests and reports as JSON. What is not known is refused.</summary>
[JsonSourceGenerationOptions(
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    RespectNullableAnnotations = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    MaxDepth = 8)]
[JsonSerializable(typeof(LabDescription))]
[JsonSerializable(typeof(LabSaveRequest))]
[JsonSerializable(typeof(LabDumpRequest))]
[JsonSerializable(typeof(LabRestoreRequest))]
[JsonSerializable(typeof(LabReport))]
[JsonSerializable(typeof(IReadOnlyList<LabReport>))]
internal sealed partial class LabJson : JsonSerializerContext
{
    /// <summary>Reads a request that anybody may have made.</summary>
    /// <exception cref="HypervisorException">EINVAL: it is none.</exception>
    public static T Parse<T>(ReadOnlySpan<byte> json, System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type, string what)
        where T : class
    {
        try
        {
            return JsonSerializer.Deserialize(json, type) ?? throw new JsonException("it is null");
        }
        catch (JsonException wrong)
        {
            throw new HypervisorException(Errno.EINVAL, $"this is no {what}: {wrong.Message}: use the same release on both ends", wrong);
        }
    }
}
