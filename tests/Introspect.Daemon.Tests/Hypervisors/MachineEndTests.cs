using System.Text;
using Introspect.Daemon.Hypervisors;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Tests.Hypervisors;

public sealed class MachineEndTests
{
    [Fact]
    public async Task lab_serve_ends_with_its_hardware_domain_and_tells_how()
    {
        var socket = Path.Combine(Directory.CreateTempSubdirectory("introspect-").FullName, "lab.sock");
        using var output = new MemoryStream();
        using (var commands = new Commands(new HypervisorFactory(), output, isTerminal: false, static _ => null))
        {
            var served = commands.ServeLabAsync(socket, new HypervisorSpec { Source = HypervisorSource.Demo }, CoreFeatures.None, new LabLife(new DomainId(1)), CancellationToken.None);
            Assert.Equal(0, await served.WaitAsync(TimeSpan.FromMinutes(2)));
        }

        var lines = Encoding.UTF8.GetString(output.ToArray()).TrimEnd('\n').Split('\n');
        Assert.Equal("hardware domain 1 halted: the machine halts; no other domain ran", lines[^1]);
        Directory.Delete(Path.GetDirectoryName(socket)!, recursive: true);
    }

    [Fact]
    public async Task lab_serve_without_a_hardware_domain_of_its_own_ends_when_it_is_told_to()
    {
        var socket = Path.Combine(Directory.CreateTempSubdirectory("introspect-").FullName, "lab.sock");
        using var stop = new CancellationTokenSource();
        using var output = new MemoryStream();
        using var commands = new Commands(new HypervisorFactory(), output, isTerminal: false, static _ => null);
        var served = commands.ServeLabAsync(socket, guest: null, CoreFeatures.None, new LabLife(), stop.Token);
        Assert.False(served.IsCompleted);
        await stop.CancelAsync();
        Assert.Equal(0, await served.WaitAsync(TimeSpan.FromMinutes(2)));
        Assert.DoesNotContain("hardware domain", Encoding.UTF8.GetString(output.ToArray()), StringComparison.Ordinal);
        Directory.Delete(Path.GetDirectoryName(socket)!, recursive: true);
    }
}
