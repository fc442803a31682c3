using Introspect.Hypervisor;
using Introspect.Hypervisor.Core.Host;

namespace Introspect.Daemon.Guests;

/// <summary>What <c>introspect lab</c> is asked for.</summary>
/// <param name="Socket">Where the domains are; null: where this user's are by default.</param>
internal abstract record LabRequest(string? Socket);

/// <summary><c>lab create</c>.</summary>
/// <param name="Socket">Where.</param>
/// <param name="Path">The guest's configuration.</param>
/// <param name="Settings">Settings over it, <c>key=value</c> each.</param>
/// <param name="Start">What comes behind.</param>
internal sealed record LabCreateRequest(string? Socket, string Path, IReadOnlyList<string> Settings, LabStart Start) : LabRequest(Socket);

/// <summary><c>lab restore</c>.</summary>
/// <param name="Socket">Where.</param>
/// <param name="Path">The saved domain.</param>
/// <param name="Name">Another name; null: as it was.</param>
/// <param name="Start">What comes behind.</param>
internal sealed record LabRestoreFileRequest(string? Socket, string Path, string? Name, LabStart Start) : LabRequest(Socket);

/// <summary>What is done with a domain that is there anew.</summary>
/// <param name="Paused">It is not let run.</param>
/// <param name="Console">Its console is followed to its end.</param>
/// <param name="Log">Where a host that has to be started writes its log; null: beside its socket.</param>
internal readonly record struct LabStart(bool Paused, bool Console, string? Log);

/// <summary><c>lab list</c>.</summary>
/// <param name="Socket">Where.</param>
/// <param name="Domain">Which; null: all.</param>
/// <param name="Long">With what they were created from.</param>
/// <param name="Json">For programs.</param>
internal sealed record LabListRequest(string? Socket, DomainRef? Domain, bool Long, bool Json) : LabRequest(Socket);

/// <summary><c>lab console</c>.</summary>
/// <param name="Socket">Where.</param>
/// <param name="Domain">Which.</param>
internal sealed record LabConsoleRequest(string? Socket, DomainRef Domain) : LabRequest(Socket);

/// <summary><c>lab save</c>.</summary>
/// <param name="Socket">Where.</param>
/// <param name="Domain">Which.</param>
/// <param name="Path">The file.</param>
/// <param name="Then">What becomes of the domain.</param>
internal sealed record LabSaveFileRequest(string? Socket, DomainRef Domain, string Path, AfterSave Then) : LabRequest(Socket);

/// <summary><c>lab dump-core</c>.</summary>
/// <param name="Socket">Where.</param>
/// <param name="Domain">Which.</param>
/// <param name="Path">The file.</param>
internal sealed record LabDumpCoreRequest(string? Socket, DomainRef Domain, string Path) : LabRequest(Socket);

/// <summary><c>lab pause</c>, <c>lab unpause</c> and <c>lab destroy</c>.</summary>
/// <param name="Socket">Where.</param>
/// <param name="Domain">Which.</param>
/// <param name="Operation">The domctl that does it.</param>
/// <param name="What">What is being done, for the message of a refusal.</param>
internal sealed record LabOperationRequest(string? Socket, DomainRef Domain, uint Operation, string What) : LabRequest(Socket);
