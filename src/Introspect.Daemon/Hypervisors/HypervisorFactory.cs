using Introspect.Daemon.Cli;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Lab;
using Introspect.Hypervisor.Xen;

namespace Introspect.Daemon.Hypervisors;

/// <summary>Makes hypervisors: the core in this process, a client of one that listens on a socket, or real Xen.</summary>
internal sealed class HypervisorFactory : IHypervisorFactory
{
    /// <inheritdoc/>
    public HypervisorSession Open(HypervisorSpec spec)
    {
        if (spec.Source == HypervisorSource.Socket)
        {
            return Connect(spec.SocketPath ?? throw new InvalidOperationException("a socket without a path"));
        }

        if (spec.Source == HypervisorSource.Xen)
        {
            return OpenXen();
        }

        var image = GuestImage.Load(spec);
        var core = CoreHypervisor.CreateInProcess(Options(spec.Core, log: null));
        try
        {
            var domain = Build(core.Toolstack, image, spec);
            return new(core, domain.Id, new ToolstackConsole(core.Toolstack), image.Symbols, image.Demo, domain.Unpause, domain) { LoadAddress = image.LoadAddress, Warnings = image.Warnings };
        }
        catch
        {
            core.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public HypervisorSession Serve(string socketPath, HypervisorSpec? guest, CoreFeatures features, DomainId? hardwareDomain, Action<string> log)
    {
        var image = guest is null ? null : GuestImage.Load(guest);
        var machine = new Machine(Options(features, log) with { HardwareDomain = hardwareDomain });
        var end = DescribeEndAsync(machine);
        var toolstack = new LocalToolstack(machine, ToolstackCaller.Control);
        var keeper = new LabKeeper(machine, toolstack, log);
        HostServer? server = null;
        try
        {
            server = new HostServer(socketPath, toolstack, toolstack, log, lab: keeper);
            var core = new CoreHypervisor(toolstack);
            bool IsNeeded() => core.ListDomains().Count != 0 || keeper.ReportAll().Any(static report => !report.HasEnded);
            bool IsInUse() => server.ClientCount != 0 || IsNeeded();
            bool TryClose() => server.TryClose(IsNeeded);
            if (image is null)
            {
                return new(core, owned: [server, keeper, machine]) { MachineEnd = end, IsInUse = IsInUse, TryClose = TryClose };
            }

            var domain = Build(toolstack, image, guest!);
            keeper.Adopt(domain.Id);
            domain.Unpause();
            return new(core, domain.Id, new ToolstackConsole(toolstack), image.Symbols, image.Demo, start: null, domain, server, keeper, machine) { Warnings = image.Warnings, MachineEnd = end, IsInUse = IsInUse, TryClose = TryClose };
        }
        catch (Exception e)
        {
            server?.Dispose();
            keeper.Dispose();
            toolstack.Dispose();
            machine.Dispose();
            if (e is HypervisorException refused)
            {
                throw UserError.Failure($"--socket '{socketPath}': {refused.Message}", refused);
            }

            throw;
        }
    }

    private static async Task<string> DescribeEndAsync(Machine machine) => (await machine.Ended.ConfigureAwait(false)).ToString();

    private static HypervisorSession Connect(string socketPath)
    {
        if (!File.Exists(socketPath))
        {
            throw UserError.Failure($"--connect '{socketPath}': there is no such socket; start 'introspect lab serve --socket {socketPath}'");
        }

        try
        {
            var core = CoreHypervisor.Connect(socketPath);
            return new(core, console: new ToolstackConsole(core.Toolstack));
        }
        catch (HypervisorException e)
        {
            throw UserError.Failure($"--connect '{socketPath}': {e.Message}", e);
        }
    }

    // A guest's console on Xen is xenconsoled's to read.
    private static HypervisorSession OpenXen()
    {
        try
        {
            return new(XenHypervisor.Open());
        }
        catch (HypervisorException e)
        {
            throw UserError.Failure(e.Message, e);
        }
    }

    private static MachineOptions Options(CoreFeatures features, Action<string>? log) => new(static domain => new DomainPlatform(domain, new PlatformOptions()))
    {
        Monitoring = new()
        {
            ReportUnchanged = features.HasFlag(CoreFeatures.ReportUnchanged),
            IoInstructions = features.HasFlag(CoreFeatures.IoInstructions),
            PagingWrites = features.HasFlag(CoreFeatures.PagingWrites),
            Log = log,
        },
    };

    /// <summary>Builds a domain with the image in it, paused before its first instruction.</summary>
    private static DomainUnderConstruction Build(IToolstack toolstack, GuestImage image, HypervisorSpec spec)
    {
        var domain = DomainUnderConstruction.Create(toolstack, new DomainConfig
        {
            Name = image.Name,
            MemoryBytes = (ulong)spec.MemoryMiB << 20,
            Vendor = spec.Vendor,
            Vcpus = (uint)spec.Vcpus,
            Interleaved = spec.Core.HasFlag(CoreFeatures.Interleaved),
        });
        if (!PvhLoader.TryLoad(image.Image, image.Boot, domain, out var entry, out var error))
        {
            domain.Destroy();
            domain.Dispose();
            throw UserError.Failure($"kernel '{image.Name}': {error.Message}");
        }

        domain.Start(entry.ToVcpuState());
        return domain;
    }

    /// <summary>The domains' consoles by way of the toolstack's door.</summary>
    private sealed class ToolstackConsole(IToolstack toolstack) : IConsoleSource
    {
        public int Read(DomainId domain, ref ulong position, Span<byte> destination) =>
            Math.Max(toolstack.ReadConsole(domain.Value, ref position, destination), 0);
    }
}
