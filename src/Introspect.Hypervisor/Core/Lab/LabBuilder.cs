using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.Policies;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Core.Lab;

/// <summary>Builds a domain from its description. The files are read each time, so that a reboot finds a new kernel.</summary>
internal sealed class LabBuilder(Machine machine, IToolstack toolstack)
{
    private const long MostFileBytes = 1L << 30;

    /// <summary>Builds it, paused before its first instruction.</summary>
    /// <param name="description">What it is to be.</param>
    /// <param name="uuid">Its UUID.</param>
    /// <param name="warning">What its image lacks, in one line; null: nothing.</param>
    /// <exception cref="HypervisorException">Something in the description cannot be; no domain is left behind.</exception>
    public Domain Build(LabDescription description, Guid uuid, out string? warning)
    {
        if (description.Name.Length == 0)
        {
            throw new HypervisorException(Errno.EINVAL, "a domain needs a name: give one");
        }

        if (machine.Domains.FirstOrDefault(other => other.Name == description.Name) is { } namesake)
        {
            throw new HypervisorException(Errno.EEXIST, $"there is a domain '{namesake.Name}' already ({namesake.Id}): destroy it, or give another name");
        }

        RefuseTwin(uuid, itself: null);
        var image = Parse(description);
        warning = Lacking(description.Kernel, image);
        var modules = description.Modules.Select(static path => new PvhModule(Read(path, "module"))).ToArray();
        using var built = DomainUnderConstruction.Create(toolstack, Configure(description, uuid));
        try
        {
            if (description.AltP2m != 0)
            {
                new ToolstackCalls(toolstack).SetParam(built.Id.Value, HvmParam.AltP2m, description.AltP2m);
            }

            var boot = new PvhBootOptions(description.CommandLine.Length == 0 ? null : description.CommandLine, modules);
            if (!PvhLoader.TryLoad(image, boot, built, out var entry, out var error))
            {
                throw new HypervisorException(Errno.EINVAL, $"kernel '{description.Kernel}': {error.Message}");
            }

            built.Start(entry.ToVcpuState());
            return machine.Find(built.Id.Value) ?? throw new HypervisorException(Errno.ESRCH, $"domain '{description.Name}' was destroyed while it was built: create it again");
        }
        catch
        {
            if (machine.Find(built.Id.Value) is not null)
            {
                built.Destroy();
            }

            throw;
        }
    }

    private static ElfImage Parse(LabDescription description)
    {
        ReadOnlyMemory<byte> bytes = LabKernels.Find(description.Kernel) ?? Read(description.Kernel!, "kernel");
        return KernelImage.TryParse(bytes, out var image, out var error) && image.TryGetPvhEntry(out _, out error)
            ? image
            : throw new HypervisorException(Errno.EINVAL, $"kernel '{description.Kernel}': {error.Message}");
    }

    private DomainConfig Configure(LabDescription description, Guid uuid)
    {
        const ulong Most = 1UL << 40;
        if (description.MemoryKiB > Most / 1024 || description.MaxMemoryKiB > Most / 1024)
        {
            throw new HypervisorException(Errno.EINVAL, $"a domain cannot have {Math.Max(description.MemoryKiB, description.MaxMemoryKiB)} KiB of memory: give at most {Most / 1024}");
        }

        return new DomainConfig
        {
            Name = description.Name,
            Uuid = uuid,
            MemoryBytes = description.MemoryKiB * 1024,
            MaxMemoryBytes = description.MaxMemoryKiB * 1024,
            Vcpus = description.Vcpus,
            Vendor = description.Svm ? CpuVendor.Svm : CpuVendor.Vmx,
            Interleaved = description.Interleaved,
            Roles = description.IsControlDomain ? DomainRoles.Control : DomainRoles.None,
            AltP2mViews = description.AltP2mViews,
            Viridian = ReadViridian(description.Viridian),
            BeforeVcpus = id => BeforeVcpus(id, uuid, description.WithoutCpuFeatures),
        };
    }

    private void BeforeVcpus(DomainId id, Guid uuid, IReadOnlyList<string> withheld)
    {
        // Again, now that another one sees this: of two that are created at once no more than one stays.
        RefuseTwin(uuid, id);
        if (withheld.Count != 0)
        {
            Withhold(id, withheld);
        }
    }

    private void RefuseTwin(Guid uuid, DomainId? itself)
    {
        if (machine.Domains.FirstOrDefault(other => other.Handle == uuid && other.Id != itself) is { } twin)
        {
            throw new HypervisorException(Errno.EEXIST, $"domain {twin.Id} has the UUID {uuid} already: destroy it, or give another UUID");
        }
    }

    private static ViridianFeatureSet ReadViridian(ulong mask) => ViridianFeatureSet.TryFromMask(mask, out var features)
        ? features
        : throw new HypervisorException(Errno.EINVAL, $"viridian: 0x{mask:x} is no mask of features that this core knows; known are {ViridianFeatureSet.All}");

    private void Withhold(DomainId id, IReadOnlyList<string> names)
    {
        if (machine.Find(id.Value)?.Platform is not DomainPlatform platform)
        {
            throw new HypervisorException(Errno.EOPNOTSUPP, "this machine's domains have no CPUID that can be chosen");
        }

        var features = platform.Policy.Features;
        foreach (var name in names)
        {
            if (!Enum.TryParse<CpuFeature>(name, ignoreCase: true, out var feature) || !Enum.IsDefined(feature) || char.IsAsciiDigit(name[0]))
            {
                throw new HypervisorException(Errno.EINVAL, $"there is no CPU feature '{name}': name one as CPUID's are named, such as 'avx2'");
            }

            features = features.Without(feature);
        }

        ToolstackCalls.Check(platform.TellFeatures(features, platform.Options.TscFrequency, platform.Options.ForcedEmulationPrefix), $"telling domain {id} its CPUID");
    }

    private static byte[] Read(string path, string what)
    {
        LabFiles.RequireRooted(path, what);
        return LabFiles.Guard(path, what, () =>
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
            if (!file.CanSeek || file.Length > MostFileBytes)
            {
                throw new HypervisorException(Errno.EINVAL, $"{what} '{path}': this is no regular file of at most {MostFileBytes >> 20} MiB; name an image");
            }

            var bytes = new byte[file.Length];
            file.ReadExactly(bytes);
            return bytes;
        });
    }

    // What is wrong with an image that boots, in one line.
    private static string? Lacking(string? kernel, ElfImage image)
    {
        List<string> lacks = [];
        if (image.SymbolWarning is { } damage)
        {
            lacks.Add($"without symbols: {damage.Message}");
        }

        if (image.NameWarning is { } name)
        {
            lacks.Add($"without the name of a section: {name.Message}");
        }

        return lacks.Count == 0 ? null : $"kernel '{kernel}' boots {string.Join("; and ", lacks)}";
    }
}
