using System.Runtime.InteropServices;
using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Tests.Cpu;

/// <summary>What is done for a guest goes by the table that the CPU was made with, whatever view is in force.</summary>
public sealed unsafe class HostTableTests
{
    private const ulong Pointers = 0x2000, OtherPointers = 0x3000;

    [Fact]
    public void Page_directory_pointers_are_loaded_past_a_view_that_does_not_have_their_page()
    {
        using var machine = new BareMachine();
        *(ulong*)(machine.Ram + Pointers) = 0x4001;
        *(ulong*)(machine.Ram + OtherPointers) = 0x5001;
        var state = machine.State;
        state->Cr0 = CpuModes.Cr0Pe | 0x10;
        state->Cr4 = CpuModes.Cr4Pae;
        state->Cr3 = Pointers;
        *state->Seg(SegmentIndex.Cs) = new Segment { Selector = 8, Limit = ~0u, Attributes = 0xC09B };
        machine.Cpu.StateChanged();
        var pages = (ulong)machine.Bytes >> 12;
        var empty = (ulong*)NativeMemory.AllocZeroed((nuint)pages, 8);
        try
        {
            machine.Cpu.SetP2m(empty, pages);
            Assert.True(machine.Cpu.WriteCr0(state->Cr0 | CpuModes.Cr0Pg));
            Assert.Equal(0x4001UL, state->Pdpte[0]);
            Assert.True(machine.Cpu.WriteCr3(OtherPointers));
            Assert.Equal((OtherPointers, 0x5001UL), (state->Cr3, state->Pdpte[0]));
            *(ulong*)(machine.Ram + OtherPointers) = 0x6001;
            var limits = new Core.Cpu.SystemMode.ControlLimits(0x7FF, 0xD01, 0);
            Assert.True(machine.Cpu.WriteCr4(state->Cr4 | 0x80, in limits));
            Assert.Equal(0x6001UL, state->Pdpte[0]);

            // The view is in force again.
            Assert.True(state->P2m == empty);
            Assert.Equal(StopReason.None, state->Stop);
        }
        finally
        {
            NativeMemory.Free(empty);
        }
    }
}
