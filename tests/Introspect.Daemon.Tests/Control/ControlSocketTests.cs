using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Introspect.Daemon.Control;
using Introspect.Daemon.Tests.Cli;
using Introspect.Daemon.Tests.Service;
using Introspect.Hypervisor.Linux;

namespace Introspect.Daemon.Tests.Control;

/// <summary>The running service, asked by its control socket and by changes of its files.</summary>
public sealed class ControlSocketTests
{
    private const string Changes = "introspect_handler_changes_total{domain=\"demo\"}";

    [Fact]
    public async Task a_reload_is_taken_over_or_refused_and_says_so_in_its_exit_code_the_metrics_and_the_log()
    {
        await using var service = await RunningService.StartAsync("reload: { watch: false }");
        var started = service.Value("introspect_config_last_reload_success_timestamp_seconds");
        Assert.True(started > 1.7e9);

        service.Write(service.Yaml.Replace("cpuid: true", "cpuid: true, msrs: [lstar]", StringComparison.Ordinal) + "sinks: { capacity: 100 }\n");
        var (exitCode, output, error) = await service.Ask("reload");
        Assert.Equal((0, ""), (exitCode, error));
        Assert.Equal("the configuration is in force; policies: 1, domains changed: 1; a restart is needed for sinks\n", output);
        Assert.Equal(1, service.Value(Changes));
        var succeeded = service.Value("introspect_config_last_reload_success_timestamp_seconds");
        Assert.True(succeeded > started);

        service.Write(service.Yaml.Replace("cpuid: true", "cpuid: perhaps", StringComparison.Ordinal) + "x: 1\n");
        (exitCode, output, error) = await service.Ask("reload");
        Assert.Equal((1, ""), (exitCode, output));
        var lines = error.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(3, lines.Length);
        Assert.Contains(lines, line => line.StartsWith($"introspect: {service.Config}:2: domains.0.events.cpuid: 'perhaps'", StringComparison.Ordinal));
        Assert.Equal("introspect: the configuration was not taken over, the old one stays in force", lines[2]);
        Assert.Equal(0, service.Value("introspect_config_last_reload_successful"));
        Assert.Equal(succeeded, service.Value("introspect_config_last_reload_success_timestamp_seconds"));
        Assert.Equal(1, service.Value(Changes));

        service.Write(service.Yaml);
        Assert.Equal(0, (await service.Ask("reload")).ExitCode);
        Assert.Equal(1, service.Value("introspect_config_last_reload_successful"));
        Assert.Equal(2, service.Value(Changes));
        Assert.Equal(0, await service.StopAsync());
        Assert.Contains("the old one stays in force", service.ReadLog(), StringComparison.Ordinal);
        Assert.False(File.Exists(service.Socket));
    }

    [Fact]
    public async Task changes_of_the_files_are_taken_over_without_being_told_to()
    {
        await using var service = await RunningService.StartAsync();
        service.Write(service.Yaml.Replace("cpuid: true", "cpuid: true, msrs: [lstar]", StringComparison.Ordinal));
        await ServiceHarness.Until(() => service.Value(Changes) == 1);

        // A folder that was not there, and a file in it; the first policy that matches counts, so that nothing changes.
        Directory.CreateDirectory(Path.Combine(service.Folder, "conf.d"));
        await File.WriteAllTextAsync(Path.Combine(service.Folder, "conf.d", "a.yaml"), "domains: [ { match: x, events: { cpuid: yes } } ]\n");
        await ServiceHarness.Until(() => Count(service, "read anew: a change of its files") == 2 && Count(service, "0 of 2 policies changed") == 1);
        await File.WriteAllTextAsync(Path.Combine(service.Folder, "conf.d", "a.yaml"), "domains: 5\n");
        await ServiceHarness.Until(() => service.Value("introspect_config_last_reload_successful") == 0);
        File.Delete(Path.Combine(service.Folder, "conf.d", "a.yaml"));
        await ServiceHarness.Until(() => service.Value("introspect_config_last_reload_successful") == 1);
        Assert.Equal(1, service.Value(Changes));

        static int Count(RunningService service, string text) => service.ReadLog().Split(text).Length - 1;
    }

    [Fact]
    public async Task the_socket_is_its_owners_and_answers_line_by_line()
    {
        await using var service = await RunningService.StartAsync();
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(service.Socket) & (UnixFileMode)0x1ff);
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(service.Socket));
        await using var stream = new NetworkStream(socket);
        using var reader = new StreamReader(stream);
        await stream.WriteAsync("{\"v\":1,\"op\":\"status\",\"later\":[1]}\n{\"v\":2,\"op\":\"status\"}\n{\"v\":1,\"op\":\"drink\"}\nwhat\n{\"v\":1}\n"u8.ToArray());
        var status = JsonDocument.Parse((await reader.ReadLineAsync())!).RootElement;
        Assert.Equal((1, true), (status.GetProperty("v").GetInt32(), status.GetProperty("ok").GetBoolean()));
        var domain = Assert.Single(status.GetProperty("status").GetProperty("domains").EnumerateArray());
        Assert.Equal("demo", domain.GetProperty("name").GetString());
        Assert.True(domain.GetProperty("events").GetProperty("cpuid").GetInt64() > 0);
        Assert.Equal("trace", domain.GetProperty("handlers")[0].GetProperty("name").GetString());
        foreach (var refused in new[] { "version 2 of the protocol", "'drink' is not known", "not a line of JSON", "'' is not known" })
        {
            var answer = JsonDocument.Parse((await reader.ReadLineAsync())!).RootElement;
            Assert.False(answer.GetProperty("ok").GetBoolean());
            Assert.StartsWith(refused, answer.GetProperty("errors")[0].GetString(), StringComparison.Ordinal);
        }

        // Who sends without end is told, and hung up on.
        await stream.WriteAsync(Encoding.ASCII.GetBytes(new string('x', ControlProtocol.LongestRequest)));
        Assert.Contains("more than 4096 bytes", await reader.ReadLineAsync(), StringComparison.Ordinal);
        Assert.Null(await reader.ReadLineAsync());
    }

    [Fact]
    public async Task a_socket_that_a_dead_service_left_is_replaced_and_one_of_a_living_service_is_not()
    {
        await using var service = await RunningService.StartAsync();
        var stale = Path.Combine(service.Folder, "stale.sock");
        using (var dead = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            // Its own end would remove it under the name that it was bound to.
            dead.Bind(new UnixDomainSocketEndPoint(stale + ".born"));
            File.Move(stale + ".born", stale);
        }

        Assert.True(File.Exists(stale));
        await using (var second = await RunningService.StartAsync(socket: stale))
        {
            Assert.Equal(0, (await RunningService.InvokeAsync(["reload", "--socket", stale], CancellationToken.None)).ExitCode);
        }

        var (exitCode, _, error) = await RunningService.FailAsync(service.Socket);
        Assert.Equal(1, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Contains("another service listens there", error, StringComparison.Ordinal);
        Assert.Equal(0, (await service.Ask("reload")).ExitCode);

        var file = Path.Combine(service.Folder, "file");
        await File.WriteAllTextAsync(file, "");
        (exitCode, _, error) = await RunningService.FailAsync(file);
        Assert.Equal(1, exitCode);
        Assert.Contains("no socket", error, StringComparison.Ordinal);
        Assert.True(File.Exists(file));
    }

    [Fact]
    public async Task a_group_that_is_named_may_use_the_socket_and_one_that_is_not_there_is_a_mistake()
    {
        await using var service = await RunningService.StartAsync();
        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await probe.ConnectAsync(new UnixDomainSocketEndPoint(service.Socket));
        var own = ControlPeer.Of(probe).Groups[0];
        var path = Path.Combine(service.Folder, "group.sock");
        await using (var second = await RunningService.StartAsync(socket: path, group: $"\"{own}\""))
        {
            Assert.Equal(UnixFileMode.GroupRead | UnixFileMode.GroupWrite, File.GetUnixFileMode(path) & (UnixFileMode)0x3f);
        }

        var (exitCode, _, error) = await RunningService.FailAsync(path, "nobody-has-this-name");
        Assert.Equal(1, exitCode);
        Assert.Contains("control.group 'nobody-has-this-name'", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(54321, false)]
    [InlineData(54321, true, 100u)]
    [InlineData(54321, false, 101u)]
    public void root_the_own_user_and_the_group_may_control(uint user, bool may, params uint[] groups) =>
        Assert.Equal(may, new ControlPeer(user, groups).MayControl(100));

    [Fact]
    public void the_own_user_may_control_whatever_the_group() =>
        Assert.True(new ControlPeer(FileOwner.CurrentUser, []).MayControl(null));

    [Theory]
    [InlineData("reload")]
    [InlineData("top")]
    public async Task where_no_service_listens_is_one_line_and_exit_code_1(string command)
    {
        var (exitCode, output, error) = await RunningService.InvokeAsync([command, "--socket", "/nowhere/control.sock"], CancellationToken.None);
        Assert.Equal((1, ""), (exitCode, output));
        CommandLineTests.AssertOneLine(error);
        Assert.Contains("/nowhere/control.sock", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null, true)]
    [InlineData("1", false)]
    public async Task top_goes_on_on_a_terminal_until_it_is_interrupted_and_has_colours_unless_they_are_not_wanted(string? noColour, bool hasColours)
    {
        // What is wrong is shown in red.
        await using var service = await RunningService.StartAsync();
        service.Write(service.Yaml.Replace("cpuid: true", "cpuid: perhaps", StringComparison.Ordinal));
        await ServiceHarness.Until(() => service.Value("introspect_config_last_reload_successful") == 0);
        var (exitCode, output, error) = await DocumentedCommand.RunAsync(
            ["top", "--interval", "100ms", "--socket", service.Socket],
            text => text.Split("the last reload failed").Length > 3,
            Task.Delay(Timeout.Infinite),
            isTerminal: true,
            name => name == "NO_COLOR" ? noColour : null);
        Assert.Equal((0, ""), (exitCode, error));
        Assert.Contains("\e[", output, StringComparison.Ordinal);
        Assert.Equal(hasColours, System.Text.RegularExpressions.Regex.IsMatch(output, @"\e\[(?:\d+;)*(?:3|4|9)\d"));
    }

    [Fact]
    public async Task top_prints_one_table_of_what_happens()
    {
        await using var service = await RunningService.StartAsync($"sinks: {{ json_file: /dev/null }}");
        var (exitCode, output, error) = await service.Ask("top", "--once", "--interval", "200ms");
        Assert.Equal((0, ""), (exitCode, error));
        Assert.DoesNotContain('\e', output);
        Assert.Matches(@"(?m)^introspect \S+, watching 1 of 1 domains *$", output);
        Assert.Matches(@"(?m)^ *1 demo +[1-9]\d*k? +\d+\.\d% +\d+\.\d% +\S+ +cpuid *$", output);
        Assert.Matches(@"(?m)^trace +demo +", output);
        Assert.Matches(@"(?m)^json +", output);
    }
}
