using System.Globalization;
using System.Text.Json;
using Introspect.Daemon.Hypervisors;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Service;

/// <summary>A domain that a service attached to, as it noted it.</summary>
/// <param name="Socket">Socket of its hypervisor; null: Xen.</param>
/// <param name="Domain">Its number.</param>
/// <param name="Uuid">Its UUID, since a number is given anew.</param>
internal sealed record AttachedDomain(string? Socket, ushort Domain, Guid Uuid)
{
    /// <summary>Its hypervisor.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public HypervisorSpec Hypervisor => new() { Source = Socket is null ? HypervisorSource.Xen : HypervisorSource.Socket, SocketPath = Socket };
}

/// <summary>
/// Notes of the domains that the service is attached to, a file each, in the folder that systemd gives a service while it
/// runs. Should the process be killed, they tell <c>introspect recover --state</c> which guests stand still for it; other
/// monitors' domains are not touched.
/// </summary>
internal sealed class AttachedDomains
{
    /// <summary>No notes.</summary>
    public static readonly AttachedDomains Unknown = new(null, null, (_, _) => { });

    private const string FolderName = "attached";

    private readonly string? _folder;
    private readonly string? _socket;
    private readonly Action<string, string> _failed;

    private AttachedDomains(string? folder, string? socket, Action<string, string> failed) => (_folder, _socket, _failed) = (folder, socket, failed);

    /// <summary>Notes in the service's runtime folder; none where there is no such folder, or the domains end with the process.</summary>
    /// <param name="variable">The environment.</param>
    /// <param name="hypervisor">Where the domains are.</param>
    /// <param name="failed">Told of a note that could not be made.</param>
    public static AttachedDomains FromEnvironment(Func<string, string?> variable, HypervisorSpec hypervisor, Action<string, string> failed) =>
        // systemd may name several folders.
        variable("RUNTIME_DIRECTORY")?.Split(':')[0] is { Length: > 0 } folder && hypervisor.Source is HypervisorSource.Socket or HypervisorSource.Xen
            ? new(Path.Combine(folder, FolderName), hypervisor.SocketPath, failed)
            : Unknown;

    /// <summary>Notes a domain, before it is attached to.</summary>
    public void Add(DomainInfo domain)
    {
        if (_folder is null)
        {
            return;
        }

        try
        {
            Directory.CreateDirectory(_folder);
            var path = PathOf(_folder, domain.Id.Value);
            // A process that is killed meanwhile leaves the whole note or none.
            File.WriteAllText(path + ".new", JsonSerializer.Serialize(new AttachedDomain(_socket, domain.Id.Value, domain.Uuid)));
            File.Move(path + ".new", path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The domain is watched all the same: what is lost is the help in the worst case.
            _failed(_folder, e.Message);
        }
    }

    /// <summary>Forgets a domain, after it was let go.</summary>
    public void Remove(DomainInfo domain)
    {
        if (_folder is not null)
        {
            Forget(_folder, domain.Id.Value);
        }
    }

    /// <summary>The domains that were noted in a folder.</summary>
    public static IReadOnlyList<AttachedDomain> Read(string folder) => !Directory.Exists(folder) ? []
        : [.. Directory.GetFiles(folder, "*.json").Order(StringComparer.Ordinal).Select(ReadOne).OfType<AttachedDomain>()];

    /// <summary>Removes the note of a domain.</summary>
    public static void Forget(string folder, ushort domain)
    {
        try
        {
            File.Delete(PathOf(folder, domain));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // To recover a domain that nothing was left of does it no harm.
        }
    }

    private static AttachedDomain? ReadOne(string path)
    {
        try
        {
            return JsonSerializer.Deserialize<AttachedDomain>(File.ReadAllText(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            return null;
        }
    }

    private static string PathOf(string folder, ushort domain) => Path.Combine(folder, domain.ToString(CultureInfo.InvariantCulture) + ".json");
}
