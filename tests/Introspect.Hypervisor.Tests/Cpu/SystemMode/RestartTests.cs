using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using static Introspect.Hypervisor.Tests.Cpu.SystemMode.DescriptorBuilder;
using M = Introspect.Hypervisor.Tests.Cpu.SystemMode.SystemMachine;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>
/// Random descriptors, stacks and instructions: what faults changes nothing, and what a nested page fault interrupts
/// comes to the same end when it is repeated, as if nothing had happened.
/// </summary>
public sealed unsafe class RestartTests
{
    private const int Cases = 150;
    private const byte V = 0x20;
    private const uint Target = 0x38000;

    private static readonly ushort[] Selectors =
    [
        0, M.Code0, M.Data0, M.Code16, M.Data16, M.Code64, M.Code3, M.Data3, M.Code64User, M.Conforming, M.TssSelector,
        M.NewTssSelector, M.NewTss16Selector, M.LdtSelector, M.Slot, M.Slot2, M.Slot3, M.BeyondGdt, 0x0C,
    ];

    private static readonly ulong[] Protected =
        [M.Gdt, M.Idt, M.Ldt, M.Tss, M.NewTss, M.OuterStack - 1, M.OuterStack, M.InnerStack - 1, TaskSwitchTests.NewEsp - 1];

    [Theory]
    [InlineData(MemoryAccess.R)]
    [InlineData(MemoryAccess.N)]
    public void An_interrupted_transfer_can_be_repeated(MemoryAccess access)
    {
        var interrupted = 0;
        for (var seed = 0; seed < Cases; seed++)
        {
            using var straight = Build(seed, out var instruction);
            var expected = Finish(straight, instruction);
            foreach (var page in Protected)
            {
                using var m = Build(seed, out instruction);
                m.Protect(page, access);
                var start = m.Visible();
                var done = instruction(m.State);
                if (!done && m.State->Stop == StopReason.Exit)
                {
                    interrupted++;
                    Assert.Equal((seed, start), (seed, m.Visible()));
                    Assert.Equal(ExitKind.NestedPageFault, m.State->Exit.Kind);
                    m.Protect(page, MemoryAccess.Rwx);
                    m.State->Stop = StopReason.None;
                    done = instruction(m.State);
                }

                var outcome = Deliver(m, done, page, ref interrupted);
                Assert.Equal((seed, page, expected), (seed, page, outcome + m.Visible()));
                Assert.True(straight.Memory.SequenceEqual(m.Memory), $"seed {seed}, page {page:x}: memory differs");
            }
        }

        // The cases would prove nothing if few of them met the protection.
        Assert.True(interrupted > Cases / 2, $"only {interrupted} were interrupted");
    }

    [Fact]
    public void A_fault_leaves_the_cpu_as_it_was()
    {
        var faults = 0;
        for (var seed = 0; seed < Cases * 4; seed++)
        {
            using var m = Build(seed, out var instruction);
            var start = m.Visible();
            if (!instruction(m.State))
            {
                faults++;
                Assert.Equal((seed, start), (seed, m.Visible()));
                Assert.True(m.State->Pending.Valid);
            }
        }

        Assert.True(faults > Cases);
    }

    private static string Finish(SystemMachine m, Instruction instruction)
    {
        var ignored = 0;
        return Deliver(m, instruction(m.State), 0, ref ignored) + m.Visible();
    }

    /// <summary>Delivers what is pending, over as many nested page faults as it takes.</summary>
    private static string Deliver(SystemMachine m, bool done, ulong page, ref int interrupted)
    {
        var raised = done && !m.State->Pending.Valid ? "done " : $"vector {m.State->Pending.Vector} code {m.State->Pending.ErrorCode:x} ";
        while (m.State->Pending.Valid)
        {
            var before = m.Visible();
            switch (EventDelivery.Deliver(m.State))
            {
                case DeliveryResult.Exit:
                    interrupted++;
                    Assert.Equal(before, m.Visible());
                    Assert.True(m.State->Pending.Valid); // the event, or what its delivery raised before
                    m.Protect(page, MemoryAccess.Rwx);
                    break;
                case DeliveryResult.TripleFault:
                    return raised + "triple fault ";
                default:
                    return raised;
            }
        }

        return raised;
    }

    private static SystemMachine Build(int seed, out Instruction instruction)
    {
        var r = new Random(seed);
        var longMode = r.Next(2) == 0;
        var compatibility = longMode && r.Next(3) == 0;
        var cpl = r.Next(2) * 3;
        var m = longMode ? M.Long(cpl, compatibility: compatibility) : M.Protected(cpl);
        foreach (var slot in (ushort[])[M.Slot, M.Slot2, M.Slot3, 0x0C])
        {
            m.Install(slot, RandomDescriptor(r), wide: slot != 0x0C);
        }

        if (!longMode)
        {
            TaskSwitchTests.BuildTask(m, M.NewTss);
            m.Write(M.NewTss + 84, RandomSelector(r), 2);
            m.Install(M.NewTssSelector, SystemSegment(9, 3, M.NewTss, 0x67));
        }

        for (var vector = 0; vector < 32; vector++)
        {
            m.InstallGate((byte)vector, Gate(14, 0, longMode ? M.Code64 : M.Code0, Target));
        }

        var gateType = (int[])[14, 15, 7, 6, 5];
        m.InstallGate(V, Gate(gateType[r.Next(5)], r.Next(2) * 3, RandomSelector(r), Target, longMode ? r.Next(2) : 0));
        m.Write(M.Tss + 36, longMode ? 0xC000UL : 0, longMode ? 8 : 4);
        var size = compatibility || !longMode ? 4 : 8;
        ulong[] frame = [Target, RandomSelector(r), RFlags.Fixed1 | RFlags.Zf, M.InnerStack - 0x800, RandomSelector(r), RandomSelector(r)];
        for (var n = 0; n < frame.Length; n++)
        {
            m.Write(M.OuterStack + (uint)(n * size), frame[n], size);
        }

        var selector = RandomSelector(r);
        instruction = r.Next(7) switch
        {
            0 => s => FarTransfers.Jump(s, selector, Target, 4, 7),
            1 => s => FarTransfers.Call(s, selector, Target, 4, 7),
            2 => s => FarReturns.Return(s, size, 0),
            3 => s => InterruptReturn.Return(s, size, 1),
            4 => s => SegmentLoader.Pop(s, (selector & 8) != 0 ? SegmentIndex.Ss : SegmentIndex.Ds, size),
            5 => s => SystemRegisters.LoadTask(s, selector),
            _ => s => SoftwareInterrupts.Int(s, V, 2),
        };
        return m;
    }

    private static ushort RandomSelector(Random r)
    {
        var selector = Selectors[r.Next(Selectors.Length)];
        return r.Next(3) == 0 ? (ushort)((selector & 0xFFFC) | (r.Next(2) * 3)) : selector;
    }

    private static ulong RandomDescriptor(Random r)
    {
        var dpl = r.Next(2) * 3;
        var present = r.Next(10) != 0;
        return r.Next(4) switch
        {
            0 => Code(dpl, bits: r.Next(2) == 0 ? 32 : 64, conforming: r.Next(3) == 0, present: present),
            1 => Data(dpl, writable: r.Next(4) != 0, big: r.Next(3) != 0, present: present),
            2 => SystemSegment((int[])[1, 2, 9, 11] is var types ? types[r.Next(4)] : 0, dpl, M.NewTss, 0x67, present),
            _ => Gate(r.Next(3) == 0 ? 5 : 12, dpl, RandomSelector(r), Target, r.Next(3), present),
        };
    }
}
