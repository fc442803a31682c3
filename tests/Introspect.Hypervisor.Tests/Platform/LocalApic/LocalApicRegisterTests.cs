using Introspect.Hypervisor.Core.Platform.Apic;

namespace Introspect.Hypervisor.Tests.Platform.Apic;

public sealed class LocalApicRegisterTests
{
    [Theory]
    [InlineData(ApicRegister.Id, 0x0600_0000)]
    [InlineData(ApicRegister.Version, 0x0005_0014)]
    [InlineData(ApicRegister.TaskPriority, 0)]
    [InlineData(ApicRegister.LogicalDestination, 0)]
    [InlineData(ApicRegister.DestinationFormat, 0xFFFF_FFFF)]
    [InlineData(ApicRegister.SpuriousVector, 0xFF)]
    [InlineData(ApicRegister.LvtTimer, 0x1_0000)]
    [InlineData(ApicRegister.LvtError, 0x1_0000)]
    [InlineData(ApicRegister.Divide, 0)]
    public void After_power_on_the_registers_read_as_on_Xen(uint register, uint value) =>
        Assert.Equal(value, new ApicBench(4, enabled: false).Read(register, vcpu: 3));

    [Fact]
    public void After_power_on_it_is_there_and_disabled_by_software()
    {
        var bench = new ApicBench(2, enabled: false);
        Assert.Equal(0xFEE0_0900UL, bench.Apics[0].Base);
        Assert.Equal(0xFEE0_0800UL, bench.Apics[1].Base);
        Assert.All(bench.Apics, static apic => Assert.False(apic.IsEnabled));
        Assert.All(bench.Apics, static apic => Assert.True(apic.Covers(ApicBench.Page)));
    }

    // register | written | read back
    [Theory]
    [InlineData(ApicRegister.Id, 0x12345678, 0x12345678)]
    [InlineData(ApicRegister.Version, 0, 0x0005_0014)]
    [InlineData(ApicRegister.TaskPriority, 0xFFFF_FF5A, 0x5A)]
    [InlineData(ApicRegister.LogicalDestination, 0xFFFF_FFFF, 0xFF00_0000)]
    [InlineData(ApicRegister.DestinationFormat, 0, 0x0FFF_FFFF)]
    [InlineData(ApicRegister.SpuriousVector, 0xFFFF_FFFF, 0x3FF)]
    [InlineData(ApicRegister.CommandHigh, 0xFFFF_FFFF, 0xFF00_0000)]
    [InlineData(ApicRegister.CommandLow, 0x0004_5020, 0x0004_4020)]
    [InlineData(ApicRegister.LvtTimer, 0xFFFF_FFFF, 0x0007_10FF)]
    [InlineData(ApicRegister.LvtThermal, 0xFFFF_FFFF, 0x0001_17FF)]
    [InlineData(ApicRegister.LvtPerformance, 0xFFFF_FFFF, 0x0001_17FF)]
    [InlineData(ApicRegister.Lvt0, 0xFFFF_FFFF, 0x0001_F7FF)]
    [InlineData(ApicRegister.Lvt1, 0xFFFF_FFFF, 0x0001_F7FF)]
    [InlineData(ApicRegister.LvtError, 0xFFFF_FFFF, 0x0001_10FF)]
    [InlineData(ApicRegister.Divide, 0xFFFF_FFFF, 0xB)]
    [InlineData(ApicRegister.InService, 0xFFFF_FFFF, 0)]
    [InlineData(ApicRegister.InterruptRequest, 0xFFFF_FFFF, 0)]
    [InlineData(0x90, 0xFFFF_FFFF, 0)]
    [InlineData(ApicRegister.SelfIpi, 0x40, 0)]
    public void A_register_keeps_what_is_its_own(uint register, uint written, uint read)
    {
        var bench = new ApicBench();
        bench.Write(register, written);
        Assert.Equal(read, bench.Read(register));
    }

    [Fact]
    public void An_access_within_a_register_works_at_any_size_and_others_read_zero_and_write_nothing()
    {
        var bench = new ApicBench();
        bench.Write(ApicRegister.Lvt0, 0x0001_2345);
        var page = ApicBench.Page + ApicRegister.Lvt0;
        Assert.Equal(0x45u, bench.Apic.ReadMemory(page, 1));
        Assert.Equal(0x23u, bench.Apic.ReadMemory(page + 1, 1));
        Assert.Equal(0x2345u, bench.Apic.ReadMemory(page, 2));
        Assert.Equal(0x0123u, bench.Apic.ReadMemory(page + 1, 2));
        Assert.Equal(0u, bench.Apic.ReadMemory(page + 3, 2)); // over its end
        Assert.Equal(0u, bench.Apic.ReadMemory(page + 4, 4)); // between registers
        Assert.Equal(0u, bench.Apic.ReadMemory(page, 8));
        Assert.Equal(0u, bench.Apic.ReadMemory(ApicBench.Page + 0xFF0, 4));

        bench.Apic.WriteMemory(page, 1, 0xFF77);
        Assert.Equal(0x0001_2377u, bench.Read(ApicRegister.Lvt0));
        bench.Apic.WriteMemory(page + 1, 2, 0x0000);
        Assert.Equal(0x77u, bench.Read(ApicRegister.Lvt0));
        bench.Apic.WriteMemory(page + 4, 4, 0xFFFF_FFFF);
        bench.Apic.WriteMemory(page, 8, 0xFFFF_FFFF);
        Assert.Equal(0x77u, bench.Read(ApicRegister.Lvt0));
    }

    [Fact]
    public void Software_disabling_masks_the_vector_table_and_keeps_it_masked()
    {
        var bench = new ApicBench();
        bench.Write(ApicRegister.LvtError, 0x33);
        bench.Write(ApicRegister.SpuriousVector, 0xFF);
        Assert.False(bench.Apic.IsEnabled);
        Assert.Equal(0x1_0033u, bench.Read(ApicRegister.LvtError));
        bench.Write(ApicRegister.LvtError, 0x44);
        Assert.Equal(0x1_0044u, bench.Read(ApicRegister.LvtError));
        bench.Write(ApicRegister.SpuriousVector, 0x1FF);
        Assert.True(bench.Apic.IsEnabled);
        bench.Write(ApicRegister.LvtError, 0x44);
        Assert.Equal(0x44u, bench.Read(ApicRegister.LvtError));
    }

    [Fact]
    public void CR8_is_the_upper_half_of_the_task_priority()
    {
        var bench = new ApicBench();
        bench.Write(ApicRegister.TaskPriority, 0x5A);
        Assert.Equal(5UL, bench.Apic.Cr8);
        bench.Apic.Cr8 = 9;
        Assert.Equal(0x90u, bench.Read(ApicRegister.TaskPriority));
    }

    [Fact]
    public void The_error_register_shows_what_came_since_it_was_written_last()
    {
        var bench = new ApicBench();
        bench.Write(ApicRegister.LvtError, 0x77);
        bench.Send(0x0004_0005); // an illegal vector to itself
        Assert.Equal(0u, bench.Read(ApicRegister.ErrorStatus));
        Assert.Equal((byte)0x77, bench.Take());
        bench.Send(0x0004_0006);
        Assert.False(bench.IsRequested(0x77)); // told once until it is looked at

        bench.Write(ApicRegister.ErrorStatus, 0);
        Assert.Equal(0x20u, bench.Read(ApicRegister.ErrorStatus));
        bench.Write(ApicRegister.ErrorStatus, 0);
        Assert.Equal(0u, bench.Read(ApicRegister.ErrorStatus));
    }

    [Fact]
    public void An_error_interrupt_with_an_illegal_vector_is_an_error_and_no_end_of_errors()
    {
        var bench = new ApicBench();
        bench.Write(ApicRegister.LvtError, 0x05);
        bench.Send(0x0004_0000);
        bench.Write(ApicRegister.ErrorStatus, 0);
        Assert.Equal(0x60u, bench.Read(ApicRegister.ErrorStatus));
        Assert.False(bench.Apic.HasRequests);
    }

    [Fact]
    public void Disabling_it_in_the_base_register_takes_it_out_of_memory_and_enabling_resets_it()
    {
        var bench = new ApicBench(2);
        bench.Write(ApicRegister.TaskPriority, 0x40, vcpu: 1);
        bench.Apics[1].ChangeBase(0xFEE0_0000);
        Assert.False(bench.Apics[1].Covers(ApicBench.Page));
        Assert.False(bench.Apics[1].IsEnabled);
        Assert.True(bench.Apics[0].Covers(ApicBench.Page + 0xFFF));
        Assert.False(bench.Apics[0].Covers(ApicBench.Page + 0x1000));
        Assert.False(bench.Apics[0].Covers(ApicBench.Page - 1));

        bench.Apics[1].ChangeBase(0xFEE0_0800);
        Assert.True(bench.Apics[1].Covers(ApicBench.Page));
        Assert.False(bench.Apics[1].IsEnabled); // the spurious vector register says so now
        Assert.Equal(0u, bench.Read(ApicRegister.TaskPriority, vcpu: 1));
        Assert.Equal(0x0200_0000u, bench.Read(ApicRegister.Id, vcpu: 1));
    }

    [Fact]
    public void Enabling_it_takes_up_an_event_that_waits()
    {
        var bench = new ApicBench(enabled: false) { Host = { DueUpcallVector = 0xF3 } };
        bench.Apic.RequestUpcall(0xF3);
        Assert.False(bench.IsRequested(0xF3));
        bench.Write(ApicRegister.SpuriousVector, 0x1FF);
        Assert.Equal((byte)0xF3, bench.Take());
    }

    [Fact]
    public void INIT_clears_all_but_the_mode_and_the_number()
    {
        var bench = new ApicBench(2, x2: true);
        bench.Send(0x40, destination: 2);
        bench.Send(0x50, destination: 2);
        Assert.Equal((byte)0x50, bench.Take(vcpu: 1));
        bench.Write(ApicRegister.TaskPriority, 0x20, vcpu: 1);
        bench.Write(ApicRegister.LvtTimer, 0x66, vcpu: 1);
        bench.Write(ApicRegister.InitialCount, 100, vcpu: 1);

        bench.Apics[1].Initialise();
        Assert.True(bench.Apics[1].IsX2);
        Assert.Equal(2u, bench.Read(ApicRegister.Id, vcpu: 1));
        Assert.Equal(4u, bench.Read(ApicRegister.LogicalDestination, vcpu: 1));
        Assert.False(bench.Apics[1].HasRequests);
        Assert.False(bench.IsRequested(0x40, vcpu: 1));
        Assert.False(bench.IsInService(0x50, vcpu: 1));
        Assert.Equal(0u, bench.Read(ApicRegister.TaskPriority, vcpu: 1));
        Assert.Equal(0x1_0000u, bench.Read(ApicRegister.LvtTimer, vcpu: 1));
        Assert.Equal(0xFFu, bench.Read(ApicRegister.SpuriousVector, vcpu: 1));
        Assert.Equal(ulong.MaxValue, bench.Bus.NextDeadline);
    }
}
