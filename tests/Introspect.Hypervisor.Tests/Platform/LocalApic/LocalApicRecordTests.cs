using System.Buffers.Binary;
using Introspect.Hypervisor.Core.Platform.Apic;

namespace Introspect.Hypervisor.Tests.Platform.Apic;

public sealed class LocalApicRecordTests
{
    private static byte[] Hidden(LocalApic apic)
    {
        var record = new byte[24];
        apic.SaveHidden(record);
        return record;
    }

    private static byte[] Registers(LocalApic apic)
    {
        var record = new byte[1024];
        apic.SaveRegisters(record);
        return record;
    }

    private static byte[] HiddenRecord(ulong apicBase, uint disabled = 0, uint divisor = 1, ulong deadline = 0)
    {
        var record = new byte[24];
        BinaryPrimitives.WriteUInt64LittleEndian(record, apicBase);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(8), disabled);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(12), divisor);
        BinaryPrimitives.WriteUInt64LittleEndian(record.AsSpan(16), deadline);
        return record;
    }

    [Fact]
    public void The_records_are_those_of_Xen()
    {
        var bench = new ApicBench();
        bench.Write(ApicRegister.Divide, 3);
        bench.Write(ApicRegister.LvtTimer, 0x4_0050);
        bench.Apic.TscDeadline = 0x1122_3344_5566_7788;
        bench.Apic.Request(0x61);
        var hidden = Hidden(bench.Apic);
        Assert.Equal("0009E0FE0000000000000000100000008877665544332211", Convert.ToHexString(hidden));
        var registers = Registers(bench.Apic);
        Assert.Equal(0x0005_0014u, BinaryPrimitives.ReadUInt32LittleEndian(registers.AsSpan(0x30)));
        Assert.Equal(0x1FFu, BinaryPrimitives.ReadUInt32LittleEndian(registers.AsSpan(0xF0)));
        Assert.Equal(2u, BinaryPrimitives.ReadUInt32LittleEndian(registers.AsSpan(0x230)));
        Assert.Equal(0x4_0050u, BinaryPrimitives.ReadUInt32LittleEndian(registers.AsSpan(0x320)));
        Assert.Equal(3u, BinaryPrimitives.ReadUInt32LittleEndian(registers.AsSpan(0x3E0)));
        bench.Write(ApicRegister.SpuriousVector, 0xFF);
        Assert.Equal(2, Hidden(bench.Apic)[8]);
    }

    [Fact]
    public void What_was_saved_goes_on_elsewhere()
    {
        var bench = new ApicBench(2, x2: true);
        bench.Apics[1].Request(0x61);
        bench.Apics[1].Request(0x31);
        Assert.Equal((byte)0x61, bench.Take(vcpu: 1));
        bench.Apics[1].Request(0x81);
        bench.Send(0x0004_0001, vcpu: 1); // an error that nobody looked at
        bench.Write(ApicRegister.Divide, 0xB, vcpu: 1);
        bench.Write(ApicRegister.LvtTimer, 0x50, vcpu: 1);
        bench.Write(ApicRegister.InitialCount, 1000, vcpu: 1);

        var other = new ApicBench(2);
        var wakes = other.Hosts[1].Wakes;
        Assert.Equal(Errno.None, other.Apics[1].LoadHidden(Hidden(bench.Apics[1])));
        other.Apics[1].LoadRegisters(Registers(bench.Apics[1]));
        Assert.Equal(Hidden(bench.Apics[1]), Hidden(other.Apics[1]));
        Assert.Equal(Registers(bench.Apics[1]), Registers(other.Apics[1]));
        Assert.True(other.Hosts[1].Wakes > wakes);
        Assert.True(other.Apics[1].IsX2);
        Assert.True(other.Apics[1].HasRequests);
        Assert.Equal((byte)0x81, other.Take(vcpu: 1));
        Assert.Null(other.Take(vcpu: 1));
        other.Write(ApicRegister.Eoi, 0, vcpu: 1);
        other.Write(ApicRegister.Eoi, 0, vcpu: 1);
        Assert.Equal((byte)0x31, other.Take(vcpu: 1));
        other.Write(ApicRegister.ErrorStatus, 0, vcpu: 1);
        Assert.Equal(0x20u, other.Read(ApicRegister.ErrorStatus, vcpu: 1));
        Assert.Equal(other.Host.Nanoseconds + 10_000, other.Bus.NextDeadline);
    }

    [Fact]
    public void A_loaded_deadline_is_armed_again()
    {
        var bench = new ApicBench();
        bench.Write(ApicRegister.LvtTimer, 0x4_0050);
        var deadline = bench.Host.Timestamp + 2000;
        var other = new ApicBench();
        Assert.Equal(Errno.None, other.Apic.LoadHidden(HiddenRecord(0xFEE0_0900, deadline: deadline)));
        other.Apic.LoadRegisters(Registers(bench.Apic));
        Assert.Equal(deadline, other.Apic.TscDeadline);
        Assert.Equal(other.Host.Nanoseconds + 1000, other.Bus.NextDeadline);
    }

    [Theory]
    [InlineData(0xFEE0_0900, 0, 1, true)]
    [InlineData(0xFEE0_0900, 2, 128, true)]
    [InlineData(0xFEE0_0D00, 0, 2, true)]
    [InlineData(0xFEE0_0100, 1, 2, true)]
    [InlineData(0xFEE0_0500, 0, 2, false)] // x2APIC without being enabled
    [InlineData(0xFEE0_0901, 0, 2, false)] // reserved
    [InlineData(0x10FEE0_0000_0900, 0, 2, false)]
    [InlineData(0xFEE0_0900, 4, 2, false)]
    [InlineData(0xFEE0_0900, 0, 0, false)] // would be divided by
    [InlineData(0xFEE0_0900, 0, 3, false)]
    [InlineData(0xFEE0_0900, 0, 256, false)]
    public void A_state_that_cannot_be_is_refused_and_changes_nothing(ulong apicBase, uint disabled, uint divisor, bool ok)
    {
        var apic = new ApicBench().Apic;
        var before = Hidden(apic);
        Assert.Equal(ok ? Errno.None : Errno.EINVAL, apic.LoadHidden(HiddenRecord(apicBase, disabled, divisor)));
        Assert.Equal(ok ? HiddenRecord(apicBase, disabled, divisor) : before, Hidden(apic));
    }

    [Theory]
    [InlineData(0xFEE0_0900, 1, 0)]
    [InlineData(0xFEE0_0100, 0, 1)]
    public void The_base_register_says_whether_it_is_disabled(ulong apicBase, uint disabled, byte expected)
    {
        var apic = new ApicBench().Apic;
        Assert.Equal(Errno.None, apic.LoadHidden(HiddenRecord(apicBase, disabled)));
        Assert.Equal(expected, Hidden(apic)[8]);
    }

    [Fact]
    public void Logical_addresses_of_older_hypervisors_are_kept_or_made_right()
    {
        var bench = new ApicBench(4, x2: true);
        var registers = Registers(bench.Apics[3]);
        BinaryPrimitives.WriteUInt32LittleEndian(registers.AsSpan(0xD0), 1);
        var other = new ApicBench(4);
        Assert.Equal(Errno.None, other.Apics[3].LoadHidden(HiddenRecord(0xFEE0_0C00)));
        other.Apics[3].LoadRegisters(registers);
        Assert.Equal(1u << 6, other.Read(ApicRegister.LogicalDestination, vcpu: 3));

        // Made from the vCPU's number: the guest knows it so, and its other vCPUs get the same kind.
        BinaryPrimitives.WriteUInt32LittleEndian(registers.AsSpan(0xD0), 1u << 3);
        other.Apics[3].LoadRegisters(registers);
        Assert.Equal(1u << 3, other.Read(ApicRegister.LogicalDestination, vcpu: 3));
        other.Apics[2].ChangeBase(0xFEE0_0C00);
        Assert.Equal(1u << 2, other.Read(ApicRegister.LogicalDestination, vcpu: 2));
    }
}
