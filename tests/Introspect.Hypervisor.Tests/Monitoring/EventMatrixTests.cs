using System.Text.RegularExpressions;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Tests.Monitoring.Lab;

namespace Introspect.Hypervisor.Tests.Monitoring;

/// <summary>
/// The table of docs/vm-event.md, cell by cell: a row is a reason, a column is what is done with it. Every cell of the
/// document has a case here, for each vendor that has the event, and every case a cell.
/// </summary>
public sealed class EventMatrixTests
{
    private const string NotHonoured = "–";

    private static readonly Dictionary<string, VmEventFlags> Flags = new()
    {
        ["EMULATE"] = VmEventFlags.Emulate,
        ["EMULATE_NOWRITE"] = VmEventFlags.EmulateNoWrite,
        ["SET_EMUL_READ_DATA"] = VmEventFlags.SetEmulReadData,
        ["SET_EMUL_INSN_DATA"] = VmEventFlags.SetEmulInsnData,
        ["TOGGLE_SINGLESTEP"] = VmEventFlags.ToggleSinglestep,
        ["DENY"] = VmEventFlags.Deny,
        ["SET_REGISTERS"] = VmEventFlags.SetRegisters,
        ["GET_NEXT_INTERRUPT"] = VmEventFlags.GetNextInterrupt,
        ["RESET_VMTRACE"] = VmEventFlags.ResetVmtrace,
    };

    private static readonly string[] Columns = ["enable", "disable", "errno", "fields", "bare", .. Flags.Keys];

    public static TheoryData<string, string, CpuVendor> Cells
    {
        get
        {
            var cells = new TheoryData<string, string, CpuVendor>();
            foreach (var scenario in EventScenarios.All)
            {
                foreach (var column in Columns)
                {
                    foreach (var vendor in scenario.Vendors)
                    {
                        cells.Add(scenario.Name, column, vendor);
                    }
                }
            }

            return cells;
        }
    }

    [Theory]
    [MemberData(nameof(Cells))]
    public void Cell(string row, string column, CpuVendor vendor)
    {
        var scenario = EventScenarios.Of(row);
        using var run = new MatrixRun(scenario, vendor);
        switch (column)
        {
            case "enable":
                Enable(run);
                break;
            case "disable":
                Disable(run);
                break;
            case "errno":
                scenario.Errors(run.Lab);
                break;
            case "fields":
                run.Prepare();
                run.Go();
                Assert.Equal((VmEvent.InterfaceVersion, VmEventFlags.VcpuPaused, 0u), (run.First.Version, run.First.Flags, run.First.VcpuId));
                Assert.Equal((~0UL, 0UL), (run.First.Registers.VmtracePos, run.First.Registers.NptBase));
                scenario.Fields(run.First, vendor);
                break;
            case "bare":
                Bare(run);
                break;
            default:
                Flag(run, Flags[column]);
                break;
        }
    }

    [Fact]
    public void The_document_has_these_cells_and_says_which_flags_are_honoured()
    {
        var (columns, rows) = ReadTable();
        Assert.Equal(Columns, columns);
        Assert.Equal(EventScenarios.All.Select(static s => s.Name), rows.Keys);
        foreach (var scenario in EventScenarios.All)
        {
            for (var n = 0; n < Columns.Length; n++)
            {
                var text = rows[scenario.Name][n];
                Assert.False(text.Length == 0, $"{scenario.Name}/{Columns[n]} is empty");
                if (Flags.TryGetValue(Columns[n], out var flag))
                {
                    Assert.True(IsHonoured(scenario, CpuVendor.Vmx, flag) == (text != NotHonoured), $"{scenario.Name}/{Columns[n]}: {text}");
                }
            }
        }
    }

    private static void Enable(MatrixRun run)
    {
        run.Prepare();
        if (run.Scenario.Event is { } monitorEvent)
        {
            Assert.Equal(Errno.EEXIST, EventScenarios.Refused(() => run.Lab.Monitor.Enable(monitorEvent)));
        }

        run.Go();
        Assert.Equal(VmEventFlags.VcpuPaused, run.First.Flags);
        Assert.Equal(0, Wrong(run));
    }

    private static void Disable(MatrixRun run)
    {
        var lab = run.Lab;
        run.Prepare();
        if (run.Scenario.Event is { } monitorEvent)
        {
            lab.Monitor.Disable(monitorEvent);
            Assert.Equal(Errno.EEXIST, EventScenarios.Refused(() => lab.Monitor.Disable(monitorEvent)));
        }

        run.Scenario.Undo?.Invoke(lab);
        run.Go();
        Assert.DoesNotContain(lab.Events, e => e.Reason == run.Scenario.Reason);
    }

    private static void Bare(MatrixRun run)
    {
        run.Prepare();
        run.Go(static (_, _) => { }, finishes: false);
        if (run.Scenario.Bare == BareOutcome.Repeats)
        {
            Assert.Equal((run.First.Reason, run.First.Registers.Rip), (run.All[1].Reason, run.All[1].Registers.Rip));
        }
        else
        {
            Assert.DoesNotContain(run.All.Skip(1), e => e.Registers.Rip == run.First.Registers.Rip);
            run.Scenario.Effect(run.Lab, true);
        }

        Assert.Equal(0, Wrong(run));
    }

    private static void Flag(MatrixRun run, VmEventFlags flag)
    {
        var lab = run.Lab;
        var honoured = IsHonoured(run.Scenario, run.Vendor, flag);
        if (flag == VmEventFlags.Deny)
        {
            lab.Monitor.ControlRegisters();
        }

        run.Prepare();
        if (flag == VmEventFlags.ToggleSinglestep && run.Vendor == CpuVendor.Vmx && run.Scenario.Reason != VmEventReason.Singlestep)
        {
            lab.Monitor.Enable(new MonitorEvent.SingleStep());
        }

        run.Go((lab, response) => Set(lab, response, flag, honoured), finishes: !honoured || !Replaces(flag));
        Assert.Equal(honoured ? 0 : 1, lab.Faults[AnswerFault.MeaninglessFlags]);
        if (!honoured)
        {
            Assert.Equal(flag == VmEventFlags.Deny ? 1 : 0, lab.Faults[AnswerFault.IgnoredDeny]);
            return;
        }

        Assert.Equal(0, Wrong(run));
        switch (flag)
        {
            case VmEventFlags.ToggleSinglestep when run.Scenario.Reason == VmEventReason.Singlestep:
                Assert.Single(run.All); // it ends the stepping
                break;
            case VmEventFlags.ToggleSinglestep:
                Assert.Contains(lab.Events, static e => e.Reason == VmEventReason.Singlestep);
                break;
            case VmEventFlags.SetRegisters:
                Assert.Equal(0x1234UL, lab.Gpr(15));
                break;
            case VmEventFlags.GetNextInterrupt when run.Scenario.Reason == VmEventReason.Interrupt:
                // What was told is still the next one.
                Assert.Equal([0x41u, 0x41u], run.All.Select(static e => e.Interrupt.Vector));
                break;
            case VmEventFlags.GetNextInterrupt:
                Assert.Contains(lab.Events, static e => e.Reason == VmEventReason.Interrupt && e.Interrupt.Vector == 0x40);
                break;
            default:
                Assert.Single(run.All);
                run.Scenario.Effect(lab, flag is VmEventFlags.Emulate or VmEventFlags.SetEmulReadData);
                break;
        }
    }

    /// <summary>Responses that were wrong. To end, the vmexit row switches its event off, which makes an answer stale.</summary>
    private static long Wrong(MatrixRun run) => run.Lab.Faults.Total - run.Lab.Faults[AnswerFault.Stale];

    /// <summary>Flags that are for every event, and those of the row.</summary>
    private static bool IsHonoured(EventScenario scenario, CpuVendor vendor, VmEventFlags flag) => flag switch
    {
        VmEventFlags.SetRegisters or VmEventFlags.GetNextInterrupt => true,
        VmEventFlags.ToggleSinglestep => vendor == CpuVendor.Vmx,
        _ => (scenario.Honours & flag) != 0,
    };

    /// <summary>Flags that bring the guest on by themselves.</summary>
    private static bool Replaces(VmEventFlags flag) =>
        flag is VmEventFlags.Emulate or VmEventFlags.EmulateNoWrite or VmEventFlags.SetEmulReadData or VmEventFlags.SetEmulInsnData or VmEventFlags.Deny;

    private static void Set(EventLab lab, Response response, VmEventFlags flag, bool honoured)
    {
        response.Add(flag);
        switch (flag)
        {
            case VmEventFlags.SetEmulInsnData when honoured:
                EventScenarios.SetInstruction(ref response.Event, 0x90);
                break;
            case VmEventFlags.EmulateNoWrite or VmEventFlags.SetEmulReadData when honoured:
                response.Add(VmEventFlags.Emulate);
                break;
            case VmEventFlags.SetRegisters:
                response.Event.Registers.R15 = 0x1234;
                break;
            case VmEventFlags.GetNextInterrupt:
                lab.Domain.InjectTrap(new VcpuId(0), new TrapInjection(0x40, 0, 0, TrapInjection.NoErrorCode, 0));
                break;
        }
    }

    private static (List<string> Columns, Dictionary<string, List<string>> Rows) ReadTable()
    {
        var text = File.ReadAllText(DocumentPath());
        var lines = text[text.IndexOf("## Cell by cell", StringComparison.Ordinal)..].Split('\n')
            .SkipWhile(static line => !line.StartsWith('|')).TakeWhile(static line => line.StartsWith('|')).Select(Split).ToList();
        return (
            [.. lines[0].Skip(1).Select(static cell => cell.Trim('`'))],
            lines.Skip(2).ToDictionary(static line => line[0].Trim('`'), static line => line[1..]));
    }

    private static List<string> Split(string line) => [.. Regex.Split(line.Trim().Trim('|'), @"\|").Select(static cell => cell.Trim())];

    private static string DocumentPath()
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            var path = Path.Combine(directory.FullName, "docs", "vm-event.md");
            if (File.Exists(path))
            {
                return path;
            }
        }

        throw new FileNotFoundException("docs/vm-event.md is above the test's directory");
    }
}
