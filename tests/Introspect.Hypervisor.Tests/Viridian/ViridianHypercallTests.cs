using System.Buffers.Binary;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Tests.Viridian;

/// <summary>Results and effects of viridian's hypercalls.</summary>
public sealed class ViridianHypercallTests : IViridianHypercallContext
{
    private const ulong Fast = 1 << 16;
    private const ulong Input = 0x100;
    private const ulong InvalidCode = 2, InvalidParameter = 5;
    private readonly byte[] _memory = new byte[0x1000];
    private readonly List<string> _log = [];

    uint IViridianHypercallContext.VcpuCount => 70;

    bool IViridianHypercallContext.TryReadPhysical(ulong gpa, Span<byte> destination)
    {
        if (gpa > (ulong)_memory.Length || (ulong)destination.Length > (ulong)_memory.Length - gpa)
        {
            return false;
        }

        _memory.AsSpan((int)gpa, destination.Length).CopyTo(destination);
        return true;
    }

    void IViridianHypercallContext.Yield() => _log.Add("yield");

    void IViridianHypercallContext.FlushTlbs(UInt128 vcpus) => _log.Add($"flush {vcpus:x}");

    void IViridianHypercallContext.Interrupt(uint vcpuId, byte vector) => _log.Add($"{vector:x}→{vcpuId}");

    [Fact]
    public void B3_a_long_spin_wait_lets_others_run()
    {
        Assert.Equal(0UL, Call(0x08));
        Assert.Equal(["yield"], _log);
    }

    [Theory]
    [InlineData(0x02)]
    [InlineData(0x03)]
    public void B3_a_flush_is_of_the_processors_in_the_mask_or_of_all(int code)
    {
        Put(0, 0, 0x5);
        Assert.Equal(0UL, Call(code));
        Put(0, 1, 0x5);
        Assert.Equal(0UL, Call(code));

        Assert.Equal(["flush 5", "flush ffffffffffffffffffffffffffffffff"], _log);
    }

    [Fact]
    public void B3_a_flush_of_a_list_is_done_for_the_whole_list()
    {
        Put(0, 0, 1);

        Assert.Equal(0x123UL << 32, Call(0x03, repeat: 0x123));
    }

    [Theory]
    [InlineData(0x13)]
    [InlineData(0x14)]
    public void B3_an_extended_flush_takes_a_sparse_set(int code)
    {
        // Banks 0, 1 and 3; no domain has processors of the last.
        Put(0, 0, 0, 0b1011, 0xA, 0xB, 0xC);
        Assert.Equal(0UL, Call(code));
        Put(0, 0, 1, 0);
        Assert.Equal(0UL, Call(code));
        Put(0, 1, 77, 0);
        Assert.Equal(0UL, Call(code));
        Put(0, 0, 0, 0);
        Assert.Equal(0UL, Call(code));

        const string All = "flush ffffffffffffffffffffffffffffffff";
        Assert.Equal(["flush b000000000000000a", All, All, "flush 0"], _log);
    }

    [Fact]
    public void B3_a_set_of_an_unknown_format_is_an_invalid_parameter()
    {
        Put(0, 0, 2, 0);
        Assert.Equal(InvalidParameter, Call(0x13));
        Put(0x41, 2, 0);
        Assert.Equal(InvalidParameter, Call(0x15));
        Assert.Empty(_log);
    }

    [Theory]
    [InlineData(0x02)]
    [InlineData(0x03)]
    [InlineData(0x13)]
    [InlineData(0x14)]
    [InlineData(0x15)]
    public void B3_what_has_no_fast_form_is_an_invalid_parameter_in_registers_of_either_size(int code)
    {
        Put(0x41, 1, 1, 1);

        // The extended fast form, in XMM registers, is told by the same bit.
        Assert.Equal(InvalidParameter, Call(code, flags: Fast));
        Assert.Equal(InvalidParameter, Call(code, flags: Fast | (2 << 17)));
        Assert.Empty(_log);
    }

    [Theory]
    [InlineData(0x02)]
    [InlineData(0x0B)]
    [InlineData(0x13)]
    [InlineData(0x15)]
    public void B3_input_that_is_not_in_RAM_is_an_invalid_parameter(int code)
    {
        Assert.Equal(InvalidParameter, ViridianHypercalls.Do(new((uint)code, 0xFFC, 0), this));
        Assert.Equal(InvalidParameter, ViridianHypercalls.Do(new((uint)code, ~0UL, 0), this));
        Assert.Empty(_log);
    }

    [Fact]
    public void B3_banks_that_are_not_in_RAM_are_an_invalid_parameter()
    {
        Put(0, 0, 0, ulong.MaxValue);
        Assert.Equal(0UL, Call(0x13));
        _log.Clear();
        _memory.AsSpan((int)Input, 32).CopyTo(_memory.AsSpan(0xFE0));

        Assert.Equal(InvalidParameter, ViridianHypercalls.Do(new(0x13, 0xFE0, 0), this));
        Assert.Empty(_log);
    }

    [Fact]
    public void B3_an_interrupt_goes_to_the_processors_in_the_mask()
    {
        Put(0x41, 0b1001);
        Assert.Equal(0UL, Call(0x0B));

        Assert.Equal(["41→0", "41→3"], _log);
    }

    [Fact]
    public void B3_an_interrupt_has_a_fast_form()
    {
        Assert.Equal(0UL, ViridianHypercalls.Do(new(0x0B | Fast, 0xFF, 0b110), this));
        Assert.Equal(InvalidParameter, ViridianHypercalls.Do(new(0x0B | Fast, 0x1_0000_0041, 0b110), this));

        Assert.Equal(["ff→1", "ff→2"], _log);
    }

    [Theory]
    [InlineData(0x0Fu)]
    [InlineData(0x100u)]
    [InlineData(uint.MaxValue)]
    public void B3_an_illegal_vector_is_an_invalid_parameter(uint vector)
    {
        Put(vector, 1, 1);
        Assert.Equal(InvalidParameter, Call(0x0B));
        Assert.Equal(InvalidParameter, Call(0x15));
        Assert.Equal(InvalidParameter, ViridianHypercalls.Do(new(0x0B | Fast, vector, 1), this));
        Assert.Empty(_log);
    }

    [Theory]
    [InlineData(32)]
    [InlineData(40)]
    [InlineData(63)]
    public void B3_a_trust_level_or_a_reserved_byte_is_an_invalid_parameter(int bit)
    {
        Put(0x41 | (1UL << bit), 1, 1);

        Assert.Equal(InvalidParameter, Call(0x0B));
        Assert.Equal(InvalidParameter, Call(0x15));
        Assert.Empty(_log);
    }

    [Fact]
    public void B3_an_extended_interrupt_takes_a_sparse_set_and_leaves_out_processors_that_are_not_there()
    {
        Put(0x41, 0, 0b11, 0b10, 0xFF0);
        Assert.Equal(0UL, Call(0x15));
        Assert.Equal(["41→1", "41→68", "41→69"], _log);
        _log.Clear();
        Put(0x41, 1, 0);
        Assert.Equal(0UL, Call(0x15));

        Assert.Equal(70, _log.Count);
    }

    [Theory]
    [InlineData(0x00)]
    [InlineData(0x5C)]
    [InlineData(0x8001)]
    public void B3_other_calls_are_an_invalid_code(int code) => Assert.Equal(InvalidCode, Call(code));

    private ulong Call(int code, ulong flags = 0, ulong repeat = 0) =>
        ViridianHypercalls.Do(new((uint)code | flags | (repeat << 32), Input, 0), this);

    private void Put(params ReadOnlySpan<ulong> words)
    {
        for (var n = 0; n < words.Length; n++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(_memory.AsSpan((int)Input + (8 * n)), words[n]);
        }
    }
}
