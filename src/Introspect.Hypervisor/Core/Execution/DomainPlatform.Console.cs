using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>Input of the console: a guest that writes to its ring gets it there, another one asks for it by hypercall.</summary>
internal sealed partial class DomainPlatform
{
    private readonly Lock _fillLock = new();

    /// <summary>Gives the guest the input that waits, as far as its ring has room.</summary>
    public void FillConsoleRing()
    {
        // A toolstack's thread and the guest's own may both come.
        using var _ = _fillLock.EnterScope();
        var gfn = Domain.GetParam(HvmParam.ConsolePfn);
        var entry = gfn == 0 ? default : Domain.Pages.Find(gfn, write: true);
        if (!entry.IsPresent)
        {
            return;
        }

        var page = Domain.Machine.Memory.RestOfPage(entry.MachineAddress);
        if (PvConsoleRing.IsUsed(page) && PvConsoleRing.Fill(page, Console))
        {
            var port = (uint)Domain.GetParam(HvmParam.ConsoleEvtchn);
            if (port != 0)
            {
                Events.Signal(port);
            }
        }
    }
}
