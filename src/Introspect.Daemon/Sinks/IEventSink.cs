using Introspect.Hypervisor;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Sinks;

/// <summary>Where event records end up: a file, a terminal. Called by one thread at a time, which may block in it.</summary>
internal interface IEventSink : IDisposable
{
    /// <summary>The sink's name in metrics.</summary>
    string Name { get; }

    /// <summary>Writes a record.</summary>
    /// <exception cref="IOException">It could not be written; the next one may be.</exception>
    void Write(in EventRecord record, DomainInfo domain);

    /// <summary>Writes an alert.</summary>
    /// <exception cref="IOException">It could not be written; the next one may be.</exception>
    void Write(AlertRecord alert, DomainInfo domain);

    /// <summary>Makes what was written visible; called when no record waits.</summary>
    /// <exception cref="IOException">It could not be written.</exception>
    void Flush();

    /// <summary>Records that were taken and are not out yet.</summary>
    long Held => 0;

    /// <summary>Records that were taken and are lost all the same, as their receiver refused them, or could not be reached to the end.</summary>
    long Lost => 0;

    /// <summary>Opens files anew, after they were rotated.</summary>
    void Reopen();
}
