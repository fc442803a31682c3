using Introspect.Hypervisor.Core.Host;

namespace Introspect.Daemon.Guests;

/// <summary>A guest's configuration that is right.</summary>
/// <param name="Description">What the domain is to be.</param>
/// <param name="Warnings">What its writer should know, in one line each.</param>
internal sealed record GuestConfig(LabDescription Description, IReadOnlyList<string> Warnings);

/// <summary>A text with settings.</summary>
/// <param name="Name">What it is called in mistakes.</param>
/// <param name="Text">The settings.</param>
internal readonly record struct ConfigText(string Name, string Text);
