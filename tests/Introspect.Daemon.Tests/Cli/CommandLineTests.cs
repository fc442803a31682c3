using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tests.Cli;

public sealed class CommandLineTests
{
    [Theory]
    [InlineData("", "Required command was not provided")]
    [InlineData("bogus", "unknown command 'bogus'")]
    [InlineData("--bogus", "unknown command '--bogus'|unknown option '--bogus'")]
    [InlineData("trace", "'trace' needs a guest; give --demo, --kernel FILE or DOMAIN --connect SOCKET")]
    [InlineData("trace --bogus", "unknown option '--bogus'; see 'introspect trace --help'")]
    [InlineData("trace --demo --bogus", "unknown option '--bogus'")]
    [InlineData("trace --demo a b", "unknown argument 'b'")]
    [InlineData("trace 1", "needs a hypervisor; give --connect SOCKET")]
    [InlineData("trace --demo 1", "domain '1' and a guest to build exclude each other")]
    [InlineData("trace --demo --connect s", "--connect and a guest to build exclude each other")]
    [InlineData("trace --demo --unpause", "--unpause is for a DOMAIN")]
    [InlineData("trace --demo --registers", "give --json, too")]
    [InlineData("trace --demo --kernel k", "--demo and --kernel exclude each other")]
    [InlineData("trace --demo --cmdline x", "--cmdline belongs to a kernel")]
    [InlineData("trace --demo --module x", "--module belongs to a kernel")]
    [InlineData("trace 1 --connect s --memory 8", "--memory belongs to a guest that is built")]
    [InlineData("trace --demo --memory x", "--memory: 'x' is no number")]
    [InlineData("trace --demo --memory 1", "--memory: 1 MiB is too small")]
    [InlineData("trace --demo --memory 99999999", "--memory: 99999999 MiB is too large")]
    [InlineData("trace --demo --memory -1", "--memory")]
    [InlineData("trace --demo --vcpus 0", "--vcpus: '0' is no number of vCPUs from 1 to 128")]
    [InlineData("trace 1 --connect s --vcpus 2", "--vcpus belongs to a guest that is built")]
    [InlineData("trace --demo --vendor via", "--vendor: 'via' is unknown; write vmx or svm")]
    [InlineData("trace --demo --core io,turbo", "--core: 'turbo' is unknown; write report-unchanged, io, r_pw or interleaved")]
    [InlineData("trace demo --connect s --core io", "--core belongs to a guest that is built; give --demo or --kernel FILE, too")]
    [InlineData("lab serve --socket s --hardware-dom x", "--hardware-dom: 'x' is no number of a domain below 32752")]
    [InlineData("lab serve --socket s --hardware-dom 32752", "--hardware-dom: '32752' is no number of a domain below 32752")]
    [InlineData("lab serve --socket s --core interleaved", "--core interleaved belongs to a guest that is built; give --demo or --kernel FILE, too")]
    [InlineData("trace --demo --cr cr2", "--cr: 'cr2' is no control register")]
    [InlineData("trace --demo --cr cr3,cr9", "--cr: 'cr9' is no control register")]
    [InlineData("trace --demo --msr", "--msr")]
    [InlineData("trace --demo --msr nothing", "--msr: 'nothing' is no MSR")]
    [InlineData("trace --demo --msr 0x80000000", "--msr: MSR 0x80000000 cannot be watched")]
    [InlineData("trace --demo --msr 0x100000000", "--msr: '0x100000000' is no MSR")]
    [InlineData("trace --demo --read 1x", "--read: '1x' is no range")]
    [InlineData("trace --demo --write 0x2000-0x1000", "--write: the range '0x2000-0x1000' ends before it begins")]
    [InlineData("trace --demo --exec 0x1000+0", "--exec: the range '0x1000+0' is empty")]
    [InlineData("trace --demo --read 0+0x1000000000000", "--read: the range '0+0x1000000000000' is too large")]
    [InlineData("trace --demo --read 0xffffffffffffffff+2", "--read")]
    [InlineData("trace --demo --singlestep 0", "--singlestep: '0' is no number")]
    [InlineData("trace --demo --count 0", "--count: '0' is no number of events")]
    [InlineData("trace --demo --count", "--count")]
    [InlineData("trace --demo --duration soon", "--duration: 'soon' is no time")]
    [InlineData("trace --demo --duration 0s", "--duration: '0s' is no time")]
    [InlineData("lab", "Required command was not provided")]
    [InlineData("lab serve", "'--socket' is required")]
    [InlineData("lab serve --socket s --forever", "--forever belongs to the demo guest")]
    [InlineData("lab serve --socket s --memory 4", "--memory belongs to a guest that is built")]
    [InlineData("recover", "'DOMAIN' missing")]
    [InlineData("recover 1", "'recover' needs a hypervisor; give --connect SOCKET")]
    [InlineData("list", "'list' needs a hypervisor; give --connect SOCKET")]
    [InlineData("list --connect", "--connect")]
    [InlineData("list --hypervisor core", "'list' needs a hypervisor; give --connect SOCKET")]
    [InlineData("list --hypervisor kvm", "--hypervisor: 'kvm' is unknown; write auto, core or xen")]
    [InlineData("list --connect s --hypervisor xen", "--connect and --hypervisor xen exclude each other")]
    [InlineData("trace --demo --hypervisor xen", "--hypervisor xen and a guest to build exclude each other")]
    [InlineData("version 1", "unknown argument '1'")]
    public async Task a_bad_command_line_is_one_line_and_exit_code_2(string line, string says)
    {
        var (exitCode, output, error, commands) = await InvokeAsync(line);
        Assert.Equal(2, exitCode);
        Assert.Empty(output);
        AssertOneLine(error);
        Assert.Contains(says.Split('|'), part => error.Contains(part, StringComparison.Ordinal));
        Assert.Null(commands.Trace);
    }

    [Fact]
    public async Task demo_without_events_leaves_the_choice_to_the_guest()
    {
        var request = await TraceAsync("trace --demo");
        Assert.Equal(HypervisorSource.Demo, request.Hypervisor.Source);
        Assert.True(request.Choice.Selection.IsEmpty);
        Assert.Equal(HypervisorSpec.DefaultMemoryMiB, request.Hypervisor.MemoryMiB);
        Assert.False(request.Json);
    }

    [Fact]
    public async Task kernel_takes_its_options()
    {
        var request = await TraceAsync("trace --kernel k --cmdline console=hvc0 --module a --module b --memory 128 --vcpus 4 --vendor svm --json --registers --count 5 --duration 1500ms --lossless --cr --cpuid");
        Assert.Equal("k", request.Hypervisor.KernelPath);
        Assert.Equal("console=hvc0", request.Hypervisor.CommandLine);
        Assert.Equal(["a", "b"], request.Hypervisor.Modules);
        Assert.Equal((128, 4, CpuVendor.Svm), (request.Hypervisor.MemoryMiB, request.Hypervisor.Vcpus, request.Hypervisor.Vendor));
        Assert.True(request.Registers);
        Assert.Equal((true, true, 5L, TimeSpan.FromSeconds(1.5)), (request.Json, request.Lossless, request.Count!.Value, request.Duration!.Value));
        Assert.Equal(
            [new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0), new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3), new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4), new MonitorEvent.Cpuid()],
            request.Choice.Selection.Events);
    }

    [Fact]
    public async Task events_are_named_in_lists_and_never_twice()
    {
        var choice = (await TraceAsync("trace --demo --cr cr3,xcr0,cr3 --msr lstar,0x10 --msr 16 --read 0x1000-0x2fff --write 0x5000+1 --exec 0x7fff --int3 --singlestep 3 --guest-request --vmexit --debug --desc")).Choice;
        Assert.Equal(
            [
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3), new MonitorEvent.ControlRegister(ControlRegisterIndex.Xcr0),
                new MonitorEvent.Msr(0xc000_0082), new MonitorEvent.Msr(0x10),
                new MonitorEvent.SoftwareBreakpoint(), new MonitorEvent.SingleStep(), new MonitorEvent.GuestRequest(), new MonitorEvent.VmExit(),
                new MonitorEvent.DebugException(), new MonitorEvent.DescriptorAccess(),
            ],
            choice.Selection.Events);
        Assert.Equal(
            [new MemoryWatch(new(1), 2, MemAccessFlags.Read), new MemoryWatch(new(5), 1, MemAccessFlags.Write), new MemoryWatch(new(7), 1, MemAccessFlags.Execute)],
            choice.Selection.Memory);
        Assert.Equal(3, choice.Steps);
    }

    [Fact]
    public async Task all_is_everything_that_needs_no_value()
    {
        var choice = (await TraceAsync("trace --demo --all")).Choice;
        Assert.True(choice.Everything);
        Assert.Equal(EventOptions.DefaultSteps, choice.Steps);
        Assert.Equal(3 + MsrNames.Usual.Count + 8, choice.Selection.Events.Count);
        Assert.Equal(choice.Selection.Events.Count, choice.Selection.Events.Distinct().Count());
    }

    [Fact]
    public async Task xen_is_asked_for_by_name() =>
        Assert.Equal(HypervisorSource.Xen, (await TraceAsync("trace web --hypervisor xen")).Hypervisor.Source);

    [Theory]
    [InlineData("trace web --connect /run/lab.sock", "web")]
    [InlineData("trace 7 --connect /run/lab.sock --cpuid", "7")]
    [InlineData("trace --connect /run/lab.sock 01234567-89ab-cdef-0123-456789abcdef", "01234567-89ab-cdef-0123-456789abcdef")]
    public async Task a_domain_is_named_by_number_uuid_or_name(string line, string domain)
    {
        var request = await TraceAsync(line);
        Assert.Equal(DomainRef.Parse(domain), request.Domain);
        Assert.Equal((HypervisorSource.Socket, "/run/lab.sock"), (request.Hypervisor.Source, request.Hypervisor.SocketPath));
    }

    [Fact]
    public async Task the_other_commands_take_their_options()
    {
        Assert.Equal(ConfigurationLoader.DefaultPath, (await InvokeAsync("run")).Commands.Run);
        Assert.Equal("x.yaml", (await InvokeAsync("run --config x.yaml")).Commands.Run);
        Assert.Equal(("s", null), (await InvokeAsync("lab serve --socket s")).Commands.Served);
        Assert.Equal(new DomainId(3), (await InvokeAsync("lab serve --socket s --hardware-dom 3")).Commands.HardwareDomain);
        Assert.True((await InvokeAsync("lab serve --socket s --demo --forever")).Commands.Served!.Value.Guest!.DemoForever);
        Assert.Equal(DomainRef.Parse("3"), (await InvokeAsync("recover 3 --connect s")).Commands.Recovered!.Value.Domain);
        Assert.True((await InvokeAsync("list --connect s --json")).Commands.Listed!.Value.Json);
    }

    [Theory]
    [InlineData("--help")]
    [InlineData("trace --help")]
    [InlineData("trace -h")]
    [InlineData("lab serve --help")]
    [InlineData("recover --help")]
    public async Task help_goes_to_stdout_whatever_is_missing(string line)
    {
        var (exitCode, output, error, _) = await InvokeAsync(line);
        Assert.Equal(0, exitCode);
        Assert.Contains("Usage:", output, StringComparison.Ordinal);
        Assert.Empty(error);
    }

    public static TheoryData<string, int, string> Failures => new()
    {
        { "refused", 1, "introspect: enabling was refused (EBUSY)" },
        { "user", 1, "introspect: kernel 'x': there is no such file" },
        { "usage", 2, "introspect: two lines" },
        { "unexpected", 1, "introspect: unexpected InvalidOperationException: at first second (--verbose shows where)" },
        { "cancelled", 1, "introspect: interrupted" },
    };

    [Theory]
    [MemberData(nameof(Failures))]
    public async Task whatever_a_command_throws_is_one_line(string kind, int code, string line)
    {
        var commands = new FakeCommands
        {
            Throw = kind switch
            {
                "refused" => new HypervisorException(Errno.EBUSY, "enabling was refused"),
                "user" => UserError.Failure("kernel 'x': there is no such file"),
                "usage" => UserError.Usage("two\nlines"),
                "cancelled" => new OperationCanceledException(),
                _ => new InvalidOperationException("at first\n  second"),
            },
        };
        var (exitCode, _, error, _) = await InvokeAsync("trace --demo", commands);
        Assert.Equal(code, exitCode);
        Assert.Equal(line + "\n", error);
    }

    [Fact]
    public async Task verbose_shows_where_an_unexpected_error_came_from()
    {
        var commands = new FakeCommands { Throw = new InvalidOperationException("oh") };
        var (exitCode, _, error, _) = await InvokeAsync("trace --demo --verbose", commands);
        Assert.Equal(1, exitCode);
        Assert.Contains(nameof(FakeCommands), error, StringComparison.Ordinal);
    }

    [Fact]
    public void mistakes_of_a_configuration_are_a_line_each_and_exit_code_2()
    {
        using var error = new StringWriter { NewLine = "\n" };
        Assert.Equal(2, CommandLine.Report(new ConfigurationMistakes("x.yaml", ["x.yaml:1: a: is wrong", "x.yaml:2: b: is wrong"]), verbose: false, error));
        Assert.Equal("introspect: x.yaml:1: a: is wrong\nintrospect: x.yaml:2: b: is wrong\n", error.ToString());
    }

    internal static void AssertOneLine(string error)
    {
        Assert.StartsWith("introspect: ", error, StringComparison.Ordinal);
        Assert.EndsWith("\n", error, StringComparison.Ordinal);
        Assert.Equal(1, error.Count(c => c == '\n'));
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
        Assert.DoesNotContain("Exception", error, StringComparison.Ordinal);
    }

    private static async Task<TraceRequest> TraceAsync(string line)
    {
        var (exitCode, _, error, commands) = await InvokeAsync(line);
        Assert.Equal("", error);
        Assert.Equal(0, exitCode);
        return commands.Trace!;
    }

    private static async Task<(int ExitCode, string Output, string Error, FakeCommands Commands)> InvokeAsync(string line, FakeCommands? commands = null)
    {
        commands ??= new();
        using var output = new StringWriter { NewLine = "\n" };
        using var error = new StringWriter { NewLine = "\n" };
        var exitCode = await CommandLine.InvokeAsync(line.Split(' ', StringSplitOptions.RemoveEmptyEntries), commands, output, error, CancellationToken.None);
        return (exitCode, output.ToString(), error.ToString(), commands);
    }
}
