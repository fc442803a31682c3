using Introspect.Daemon.Cli;

namespace Introspect.Daemon.Hypervisors;

/// <summary>Makes hypervisors: the core in this process, or a client of one that listens on a socket.</summary>
internal sealed class HypervisorFactory : IHypervisorFactory
{
    /// <inheritdoc/>
    public HypervisorSession Open(HypervisorSpec spec)
    {
        if (spec.Source == HypervisorSource.Socket)
        {
            if (!File.Exists(spec.SocketPath))
            {
                throw UserError.Failure($"--connect '{spec.SocketPath}': there is no such socket; start 'introspect lab serve --socket {spec.SocketPath}'");
            }

            throw UserError.Failure("this build has no client of a hypervisor's socket");
        }

        var image = GuestImage.Load(spec);
        throw UserError.Failure($"this build has no core to run '{image.Name}' on");
    }

    /// <inheritdoc/>
    public HypervisorSession Serve(string socketPath, HypervisorSpec? guest, Action<string> log) =>
        throw UserError.Failure("this build has no core to serve");
}
