using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using M = Introspect.Hypervisor.Tests.Cpu.SystemMode.SystemMachine;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>MOV DR and debug traps (SDM vol. 3, 18.2 and 18.3).</summary>
public sealed unsafe class DebugRegisterTests
{
    private const ulong De = 8;

    /// <summary>Register, written, read back.</summary>
    [Theory]
    [InlineData(0, 0xFFFF_8000_0000_0001UL, 0xFFFF_8000_0000_0001UL)]
    [InlineData(3, 0x1234UL, 0x1234UL)]
    [InlineData(6, 0UL, 0xFFFF0FF0UL)]
    [InlineData(6, 0xFFFFFFFFUL, 0xFFFFEFFFUL)]
    [InlineData(4, 0x4001UL, 0xFFFF4FF1UL)]
    [InlineData(7, 0UL, 0x400UL)]
    [InlineData(7, 0xFFFFDFFFUL, 0xFFFF07FFUL)]
    [InlineData(5, 0x55UL, 0x455UL)]
    public void Reserved_bits_read_as_the_manual_says(int index, ulong written, ulong read)
    {
        using var m = M.Long(0);
        m.Succeeds(s => DebugRegisterAccess.Write(s, index, written));
        ulong value = 0;
        m.Succeeds(s => DebugRegisterAccess.Read(s, index, out value));
        Assert.Equal(read, value);
    }

    [Theory]
    [InlineData(6)]
    [InlineData(7)]
    public void The_upper_half_of_dr6_and_dr7_is_gp_0(int index)
    {
        using var m = M.Long(0);
        m.Faults(13, 0, s => DebugRegisterAccess.Write(s, index, 1UL << 32));
    }

    [Fact]
    public void Dr4_and_dr5_are_undefined_with_debugging_extensions()
    {
        using var m = M.Protected(3);
        m.State->Cr4 = De;
        m.Faults(6, null, s => DebugRegisterAccess.Read(s, 4, out _));
        m.State->Cr4 = 0;
        m.Faults(13, 0, s => DebugRegisterAccess.Read(s, 4, out _));
    }

    [Fact]
    public void General_detection_stops_the_access_with_bd()
    {
        using var m = M.Protected(0);
        m.Succeeds(s => DebugRegisterAccess.Write(s, 7, 0x2000));
        Assert.False(DebugRegisterAccess.Read(m.State, 0, out _));
        Assert.Equal((1, 0x2000UL, false), (m.State->Pending.Vector, m.State->Pending.Payload, m.State->Pending.HasErrorCode));
    }

    /// <summary>Stepped, breakpoint hit, enabled, after MOV SS; DR6 bits, or -1 for no trap, and what waits.</summary>
    [Theory]
    [InlineData(false, 0u, false, false, -1, 0u)]
    [InlineData(true, 0u, false, false, 0x4000, 0u)]
    [InlineData(false, 2u, true, false, 2, 0u)]
    [InlineData(false, 2u, false, false, -1, 0u)]
    [InlineData(true, 6u, true, false, 0x4006, 0u)]
    [InlineData(true, 2u, true, true, -1, 2u)]
    public void Traps_at_an_instruction_boundary(bool stepped, uint hits, bool enabled, bool afterMovSs, int expected, uint waits)
    {
        using var m = M.Protected(0);
        m.State->PendingDebug = hits;
        m.State->PendingDebugEnabled = enabled;
        m.State->Shadow = afterMovSs ? CpuShadow.MovSs : CpuShadow.None;
        Assert.Equal(expected >= 0, DebugTraps.AtBoundary(m.State, stepped));
        Assert.Equal(waits, m.State->PendingDebug);
        if (expected >= 0)
        {
            Assert.Equal((1, (ulong)expected), (m.State->Pending.Vector, m.State->Pending.Payload));
        }
    }

    [Fact]
    public void A_step_joins_the_t_bit_of_a_new_task_but_not_a_fault_of_its_segments()
    {
        using var m = M.Protected(0);
        m.Raise(1, payload: 0x8000);
        Assert.True(DebugTraps.AtBoundary(m.State, stepped: true));
        Assert.Equal((1, 0xC000UL), (m.State->Pending.Vector, m.State->Pending.Payload));
        m.Raise(10, errorCode: 0x50);
        Assert.False(DebugTraps.AtBoundary(m.State, stepped: true));
        Assert.Equal((10, 0x50u), (m.State->Pending.Vector, m.State->Pending.ErrorCode));
    }

    /// <summary>CR4.DE, DR7 length code, port of DR1, port and size of the access, hit.</summary>
    [Theory]
    [InlineData(true, 0, 0x60UL, 0x60, 1, true)]
    [InlineData(false, 0, 0x60UL, 0x60, 1, false)]
    [InlineData(true, 0, 0x60UL, 0x5E, 4, true)]
    [InlineData(true, 0, 0x60UL, 0x61, 1, false)]
    [InlineData(true, 3, 0x62UL, 0x60, 1, true)]
    [InlineData(true, 1, 0x60UL, 0x62, 2, false)]
    public void Io_breakpoints_need_de_and_cover_an_aligned_range(bool de, int length, ulong address, ushort port, int size, bool hit)
    {
        using var m = M.Protected(0);
        m.State->Cr4 = de ? De : 0;
        m.State->Dr1 = address;
        m.State->Dr7 = 0x400 | 4 | (2UL << 20) | ((ulong)length << 22);
        DebugTraps.MatchPort(m.State, port, size);
        Assert.Equal((hit ? 2u : 0, hit), (m.State->PendingDebug, m.State->PendingDebugEnabled));
    }
}
