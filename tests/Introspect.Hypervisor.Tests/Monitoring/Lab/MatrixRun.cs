using Iced.Intel;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Tests.Monitoring.Lab;

/// <summary>One run of a scenario's guest, whose first event of the scenario's reason is answered as a test wants.</summary>
internal sealed class MatrixRun : IDisposable
{
    /// <summary>Bytes after the scenario's code: two NOPs to be stepped, and HLT.</summary>
    private const int Rest = 3;

    private readonly ulong _end;

    public MatrixRun(EventScenario scenario, CpuVendor vendor)
    {
        Scenario = scenario;
        Vendor = vendor;
        Lab = new EventLab(Program, vendor, scenario.Options);
        _end = LabMemory.Code + (ulong)LabMemory.Assemble(LabMemory.Code, Program).Length - Rest;
    }

    public EventScenario Scenario { get; }

    public CpuVendor Vendor { get; }

    public EventLab Lab { get; }

    /// <summary>Events of the scenario's reason.</summary>
    public List<VmEvent> All => Lab.Events.FindAll(e => e.Reason == Scenario.Reason);

    public VmEvent First => All[0];

    public void Prepare()
    {
        Scenario.Prepare(Lab);
        if (Scenario.Event is { } monitorEvent)
        {
            Lab.Monitor.Enable(monitorEvent);
        }
    }

    /// <summary>Runs the guest to its end.</summary>
    /// <param name="first">Changes the response to the first event of the reason.</param>
    /// <param name="finishes">That response lets the guest go on, too; all later ones do.</param>
    public void Go(Action<EventLab, Response>? first = null, bool finishes = true)
    {
        var seen = 0;
        Lab.Run((int _, in VmEvent request, ref VmEvent response) =>
        {
            var making = new Response(response);
            if (request.Reason != Scenario.Reason)
            {
                Lead(in request, making);
            }
            else if (seen++ == 0)
            {
                if (finishes)
                {
                    Finish(making);
                }

                first?.Invoke(Lab, making);
            }
            else
            {
                Finish(making);
            }

            response = making.Event;
        });
    }

    public void Dispose() => Lab.Dispose();

    private void Lead(in VmEvent request, Response response)
    {
        if (request.Reason == VmEventReason.Singlestep)
        {
            response.Add(VmEventFlags.ToggleSinglestep); // one step was asked for
            return;
        }

        Scenario.Lead(Lab, request, response);
    }

    private void Finish(Response response)
    {
        if (Scenario.Finish is { } finish)
        {
            finish(Lab, response);
        }
        else
        {
            response.GoTo(_end);
        }
    }

    private void Program(Assembler code)
    {
        Scenario.Trigger(code, Vendor);
        code.nop();
        code.nop();
        code.hlt();
    }
}
