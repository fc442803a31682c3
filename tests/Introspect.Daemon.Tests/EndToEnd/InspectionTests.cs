using System.Buffers.Binary;
using System.Text.Json;
using System.Text.RegularExpressions;
using Introspect.Daemon.Tests.Cli;
using Introspect.Daemon.Tests.Output;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary><c>regs</c>, <c>mem</c> and <c>disasm</c> on a domain of a lab: running, paused, and between two events.</summary>
public sealed class InspectionTests(InspectionTests.DemoLab demo) : IClassFixture<InspectionTests.DemoLab>
{
    private static readonly DemoGuest Forever = DemoGuest.Build(new() { Forever = true });

    [Fact]
    public async Task Registers_of_a_running_guest_are_a_moment_of_it_and_it_goes_on()
    {
        var json = JsonDocument.Parse(await LookAsync("regs", "demo", "--json")).RootElement;
        Assert.Equal((64, 1, "demo"), (json.GetProperty("bits").GetInt32(), json.GetProperty("domain").GetInt32(), json.GetProperty("domain_name").GetString()));
        Assert.InRange(TraceRun.Number(json, "cr3"), DemoLayout.MainRoot, DemoLayout.PrivateA);
        Assert.True(demo.Lab.GuestGoesOn);
        Assert.Equal(DomainState.Running, demo.Lab.Domain.GetInfo().State);
    }

    [Fact]
    public async Task Registers_of_a_paused_guest_stand_still_and_are_those_of_the_seam()
    {
        var state = PauseInKernel();
        try
        {
            var first = await LookAsync("regs", "demo", "--json");
            // The host's counter goes on.
            Assert.Equal(WithoutTsc(first), WithoutTsc(await LookAsync("regs", "demo", "--json", "--vcpu", "0")));
            Assert.Empty(new SchemaChecker(await File.ReadAllTextAsync(Repository.PathOf("docs", "events.schema.json"))).Check(first));
            var json = JsonDocument.Parse(first).RootElement;
            Assert.Equal(
                (state.Rip, state.Rsp, state.Cr3, state.MsrLstar, state.GdtrBase, (ulong)state.Cs.Selector),
                (TraceRun.Number(json, "rip"), TraceRun.Number(json, "rsp"), TraceRun.Number(json, "cr3"), TraceRun.Number(json, "lstar"), TraceRun.Number(json.GetProperty("gdtr"), "base"), TraceRun.Number(json.GetProperty("cs"), "selector")));

            var text = await LookAsync("regs", "demo", "--symbols", demo.Image);
            Assert.Contains($"rip {state.Rip:x16}  ", text, StringComparison.Ordinal);
            Assert.Contains(" PE ", text, StringComparison.Ordinal);
            Assert.Contains(" PAE ", text, StringComparison.Ordinal);
            Assert.Contains($"lstar {state.MsrLstar:x}", text, StringComparison.Ordinal);
            Assert.Equal(DomainState.Paused, demo.Lab.Domain.GetInfo().State);
        }
        finally
        {
            demo.Lab.Domain.Unpause();
        }
    }

    [Fact]
    public async Task Between_two_events_the_vCPU_is_at_the_instruction_of_the_first()
    {
        using (var monitor = demo.Lab.Domain.EnableMonitor())
        {
            monitor.Enable(new MonitorEvent.Cpuid());
            while (monitor.UnconsumedRequests == 0)
            {
                monitor.Wait(TimeSpan.FromSeconds(1), CancellationToken.None);
            }

            Assert.True(monitor.TryTake(out var request));
            var lines = (await LookAsync("disasm", "demo", "--symbols", demo.Image)).Split('\n');
            var at = Assert.Single(lines, line => line.StartsWith("=> ", StringComparison.Ordinal));
            Assert.Contains($"{request.Registers.Rip:x16}  0fa2", at, StringComparison.Ordinal);
            Assert.EndsWith("cpuid", at, StringComparison.Ordinal);
        }

        Assert.True(demo.Lab.GuestGoesOn);
    }

    [Fact]
    public async Task Code_is_shown_with_names_bytes_and_instructions()
    {
        var text = await LookAsync("disasm", "demo", "step_here", "9", "--symbols", demo.Image);
        var start = Forever.Symbols["step_here"];
        var expected = $"""
            step_here:
               {start:x16}  b807000000                mov eax, 0x7
               {start + 5:x16}  488d0c80                  lea rcx, [rax+rax*4]
               {start + 9:x16}  480fafc8                  imul rcx, rax
               {start + 13:x16}  51                        push rcx
               {start + 14:x16}  31c9                      xor ecx, ecx
               {start + 16:x16}  5a                        pop rdx
               {start + 17:x16}  81eaf5000000              sub edx, 0xf5
               {start + 23:x16}  7402                      je short step_here+0x1b (0x{start + 27:x8})
               {start + 25:x16}  0f0b                      ud2

            """;
        Assert.Equal(expected, text);
    }

    [Fact]
    public async Task Code_that_ends_at_a_page_that_is_not_there_says_so()
    {
        var text = await LookAsync("disasm", "demo", $"0x{DemoLayout.UserStackVirtual + 0xffe:x}", "8", "--cr3", $"0x{DemoLayout.Root(DemoTask.C):x}");
        Assert.EndsWith($"(0x{DemoLayout.UserStackVirtual + 0x1000:x} is not mapped)\n", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Memory_is_shown_as_the_vCPU_sees_it_and_as_it_is()
    {
        var bytes = new byte[40];
        demo.Lab.Domain.Memory.ReadPhysical(new(DemoLayout.Gdt), bytes);
        Assert.Equal(bytes, (await LookBytesAsync("mem", "demo", $"0x{DemoLayout.Gdt:x}", "40", "--format", "raw", "--physical")));
        Assert.Equal(bytes, (await LookBytesAsync("mem", "demo", $"0x{DemoLayout.Gdt:x}", "40", "--format", "raw")));

        var hex = await LookAsync("mem", "demo", $"0x{DemoLayout.Gdt:x}", "40");
        Assert.Equal(
            $"{DemoLayout.Gdt:x16}  00 00 00 00 00 00 00 00  ff ff 00 00 00 9b af 00  |................|",
            hex.Split('\n')[0]);
        Assert.Equal($"{DemoLayout.Gdt + 32:x16}  {Convert.ToHexStringLower(bytes.AsSpan(32, 1))} {Convert.ToHexStringLower(bytes.AsSpan(33, 1))}", hex.Split('\n')[2][..23]);
        Assert.Equal(4, hex.Split('\n').Length);

        var numbers = await LookAsync("mem", "demo", $"0x{DemoLayout.Gdt:x}", "40", "--format", "u64");
        Assert.Equal($"{DemoLayout.Gdt:x16}  {0:x16} {BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(8)):x16}", numbers.Split('\n')[0]);
    }

    [Fact]
    public async Task Memory_of_another_process_is_read_by_its_page_tables()
    {
        var physical = await LookBytesAsync("mem", "demo", $"0x{DemoLayout.UserCode:x}", "64", "--physical", "--format", "raw");
        var process = await LookBytesAsync("mem", "demo", $"0x{DemoLayout.OwnPages:x}", "--cr3", $"0x{DemoLayout.Root(DemoTask.C):x}", "--format", "raw");
        Assert.Equal(physical, process);
    }

    [Fact]
    public async Task Numbers_are_named_by_what_they_point_to()
    {
        // What IDTR was loaded from: the address of a table that has a name.
        var text = await LookAsync("mem", "demo", $"0x{DemoLayout.IdtPointer + 2:x}", "8", "--format", "u64", "--symbols", demo.Image);
        var name = Forever.Symbols.Where(s => s.Value == DemoLayout.Idt).Select(s => s.Key).FirstOrDefault();
        Assert.StartsWith($"{DemoLayout.IdtPointer + 2:x16}  {DemoLayout.Idt:x16}", text, StringComparison.Ordinal);
        Assert.EndsWith($"  {name ?? "no symbol"}\n", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("mem demo 0xdead0000", "address 0xdead0000 is not mapped in the address space of CR3 0x")]
    [InlineData("mem demo 0x1fff0 0x100000000", "LENGTH: '0x100000000' is no number of bytes")]
    [InlineData("mem demo 0x3fffffff8 16 --physical", "guest-physical address 0x3fffffff8 is not in the memory of domain 1")]
    [InlineData("mem demo 0x40000ff8 16 --cr3 0x10a000", "address 0x40000ff8 is not mapped in the address space of CR3 0x10a000")]
    [InlineData("disasm demo 0xdead0000", "address 0xdead0000 is not mapped")]
    [InlineData("disasm demo work", "there are no symbols to find 'work' in; give --symbols FILE")]
    [InlineData("regs demo --vcpu 9", "domain 1 has no vCPU 9; it has vCPU 0 alone")]
    [InlineData("regs dmeo", "domain 'dmeo': there is none; did you mean 'demo'?")]
    [InlineData("mem demo 1x", "ADDRESS: '1x' is no address")]
    [InlineData("mem demo 0x1000 --physical --cr3 0x1000", "--physical and --cr3 exclude each other")]
    [InlineData("mem demo 0x1000 --format hxe", "--format: 'hxe' is unknown; write hex, raw or u64")]
    [InlineData("mem demo --phsyical", "unknown option '--phsyical'; see 'introspect mem --help'; did you mean '--physical'?")]
    [InlineData("disasm demo 0x1000 0", "COUNT: '0' is no number of instructions")]
    [InlineData("regs demo --vcpu x", "--vcpu: 'x' is no number of a vCPU")]
    [InlineData("mem demo 0 --cr3 x", "--cr3: 'x' is no value of CR3")]
    public async Task What_is_not_there_is_one_line(string command, string says)
    {
        var (exitCode, _, error) = await RunAsync(command.Split(' '));
        var isUsage = says.Contains(": '", StringComparison.Ordinal) && !says.StartsWith("domain", StringComparison.Ordinal) || says.Contains("exclude", StringComparison.Ordinal) || says.StartsWith("unknown option", StringComparison.Ordinal);
        Assert.Equal(isUsage ? 2 : 1, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Contains(says, error, StringComparison.Ordinal);
    }

    // What its process runs is mapped where the image has no symbols.
    private VcpuState PauseInKernel()
    {
        const int PrivilegeLevel = 3;
        while (true)
        {
            demo.Lab.Domain.Pause();
            var state = demo.Lab.Domain.ReadVcpu(new(0));
            if ((state.Cs.Selector & PrivilegeLevel) == 0)
            {
                return state;
            }

            demo.Lab.Domain.Unpause();
        }
    }

    private static string WithoutTsc(string json) => Regex.Replace(json, "\"tsc\":\"0x[0-9a-f]+\"", "");

    private async Task<string> LookAsync(params string[] arguments)
    {
        var (exitCode, output, error) = await RunAsync(arguments);
        Assert.Equal((0, ""), (exitCode, error));
        return output;
    }

    // Bytes that are no text do not survive being read as such.
    private async Task<byte[]> LookBytesAsync(params string[] arguments)
    {
        using var output = new MemoryStream();
        using var text = new StringWriter();
        using var error = new StringWriter();
        using var commands = new Commands(new Introspect.Daemon.Hypervisors.HypervisorFactory(), output, isTerminal: false, _ => null);
        var exitCode = await Introspect.Daemon.Cli.CommandLine.InvokeAsync([.. arguments, "--connect", demo.Lab.Socket], commands, text, error, CancellationToken.None);
        Assert.Equal((0, ""), (exitCode, error.ToString()));
        return output.ToArray();
    }

    private Task<(int ExitCode, string Output, string Error)> RunAsync(string[] arguments) =>
        DocumentedCommand.RunAsync([.. arguments, "--connect", demo.Lab.Socket], _ => false, Task.Delay(Timeout.Infinite));

    /// <summary>A lab for all of these tests, and the image that it runs.</summary>
    public sealed class DemoLab : IDisposable
    {
        public DemoLab()
        {
            File.WriteAllBytes(Image, Forever.Image);
            Assert.True(Lab.GuestGoesOn, "the guest has to boot first");
        }

        public string Image { get; } = Path.GetTempFileName();

        internal Lab Lab { get; } = new();

        public void Dispose()
        {
            Lab.Dispose();
            File.Delete(Image);
        }
    }
}
