using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Tests.GuestHypercalls;

public sealed class HvmOpTests
{
    private readonly FakeGuest _guest = new();

    private long Call(uint command, ulong argument = FakeGuest.Base) => _guest.Call(HypercallNumber.HvmOp, command, argument);

    private long Get(uint index, ushort domain = SpecialDomain.Self)
    {
        _guest.Put(new HvmParamArgument { Domid = domain, Index = index });
        return Call(HvmOp.GetParam);
    }

    private long Set(uint index, ulong value, ushort domain = SpecialDomain.Self)
    {
        _guest.Put(new HvmParamArgument { Domid = domain, Index = index, Value = value });
        return Call(HvmOp.SetParam);
    }

    // index | read | write of 4
    [Theory]
    [InlineData(0u, Errno.None, Errno.None)] // CALLBACK_IRQ
    [InlineData(1u, Errno.None, Errno.EPERM)] // STORE_PFN
    [InlineData(2u, Errno.None, Errno.None)] // STORE_EVTCHN
    [InlineData(4u, Errno.EINVAL, Errno.EINVAL)] // PAE_ENABLED
    [InlineData(5u, Errno.EPERM, Errno.EPERM)] // IOREQ_PFN
    [InlineData(9u, Errno.EPERM, Errno.EPERM)] // VIRIDIAN
    [InlineData(10u, Errno.EPERM, Errno.EPERM)] // TIMER_MODE
    [InlineData(12u, Errno.EPERM, Errno.EPERM)] // IDENT_PT
    [InlineData(13u, Errno.EINVAL, Errno.EINVAL)] // DM_DOMAIN
    [InlineData(14u, Errno.EPERM, Errno.EPERM)] // ACPI_S_STATE
    [InlineData(15u, Errno.None, Errno.None)] // VM86_TSS
    [InlineData(17u, Errno.None, Errno.EPERM)] // CONSOLE_PFN
    [InlineData(18u, Errno.None, Errno.None)] // CONSOLE_EVTCHN
    [InlineData(19u, Errno.None, Errno.EINVAL)] // ACPI_IOPORTS_LOCATION: 0 or 1
    [InlineData(20u, Errno.EINVAL, Errno.EINVAL)] // MEMORY_EVENT_CR0
    [InlineData(23u, Errno.EINVAL, Errno.EINVAL)] // MEMORY_EVENT_INT3
    [InlineData(24u, Errno.EINVAL, Errno.EINVAL)] // NESTEDHVM
    [InlineData(25u, Errno.EINVAL, Errno.EINVAL)] // MEMORY_EVENT_SINGLE_STEP
    [InlineData(26u, Errno.EINVAL, Errno.EINVAL)] // BUFIOREQ_EVTCHN
    [InlineData(27u, Errno.EPERM, Errno.EPERM)] // PAGING_RING_PFN
    [InlineData(28u, Errno.EPERM, Errno.EPERM)] // MONITOR_RING_PFN
    [InlineData(30u, Errno.EINVAL, Errno.EINVAL)] // MEMORY_EVENT_MSR
    [InlineData(31u, Errno.EPERM, Errno.EPERM)] // TRIPLE_FAULT_REASON
    [InlineData(34u, Errno.None, Errno.None)] // VM_GENERATION_ID_ADDR
    [InlineData(35u, Errno.None, Errno.EPERM)] // ALTP2M
    [InlineData(36u, Errno.None, Errno.None)] // X87_FIP_WIDTH
    [InlineData(37u, Errno.None, Errno.EINVAL)] // VM86_TSS_SIZED: too small
    [InlineData(38u, Errno.EPERM, Errno.EPERM)] // MCA_CAP
    [InlineData(39u, Errno.EINVAL, Errno.EINVAL)] // there is none
    [InlineData(uint.MaxValue, Errno.EINVAL, Errno.EINVAL)]
    public void Parameters_have_the_rights_that_Xen_gives_a_guest(uint index, Errno read, Errno write)
    {
        foreach (var is64 in new[] { true, false })
        {
            _guest.Is64 = is64;
            Assert.Equal(-(long)read, Get(index));
            Assert.Equal(-(long)write, Set(index, 4));
        }
    }

    [Fact]
    public void A_parameter_is_read_where_it_was_stored()
    {
        _guest.Params[HvmParam.StorePfn] = 0x1234_5678_9ABC;
        Assert.Equal(0, Get(HvmParam.StorePfn, 5));
        Assert.Equal(0x1234_5678_9ABCUL, _guest.Get<HvmParamArgument>().Value);
        Assert.Equal(0, Set(HvmParam.CallbackIrq, 0x0200_0000_0000_00F3));
        Assert.Equal(0x0200_0000_0000_00F3UL, _guest.Params[HvmParam.CallbackIrq]);
        Assert.Equal(-(long)Errno.EFAULT, Call(HvmOp.GetParam, 4));
        Assert.Equal(-(long)Errno.EFAULT, Call(HvmOp.SetParam, 4));
    }

    [Fact]
    public void Another_domains_parameters_are_refused()
    {
        Assert.Equal(-(long)Errno.ESRCH, Get(HvmParam.StorePfn, 9));
        _guest.Others[9] = _guest.Events;
        Assert.Equal(-(long)Errno.EPERM, Get(HvmParam.StorePfn, 9));
        Assert.Equal(-(long)Errno.EPERM, Set(HvmParam.CallbackIrq, 1, 9));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_callback_latches_the_layout_of_the_shared_page(bool is64)
    {
        _guest.Is64 = is64;
        _guest.Shared.Latch(!is64);
        Assert.Equal(0, Set(HvmParam.CallbackIrq, 1));
        Assert.Equal(is64, _guest.Shared.Layout.Is64);
    }

    [Fact]
    public void Both_forms_of_the_TSS_parameter_are_one()
    {
        Assert.Equal(0, Set(HvmParam.Vm86Tss, 0x5000));
        Assert.Equal(0, Get(HvmParam.Vm86Tss));
        Assert.Equal(0x5000UL, _guest.Get<HvmParamArgument>().Value);
        Assert.Equal(0, Get(HvmParam.Vm86TssSized));
        Assert.Equal(0x80_0000_5000UL, _guest.Get<HvmParamArgument>().Value);
        Assert.Equal(0, Set(HvmParam.Vm86TssSized, 0xFFFF_0000_6000));
        Assert.Equal(0, Get(HvmParam.Vm86TssSized));
        Assert.Equal(0x2089_0000_6000UL, _guest.Get<HvmParamArgument>().Value);
        Assert.Equal(-(long)Errno.EINVAL, Set(HvmParam.Vm86Tss, 1UL << 32));
    }

    [Fact]
    public void Simple_operations()
    {
        Assert.Equal(0, Call(HvmOp.FlushTlbs, 0));
        Assert.Equal(-(long)Errno.EINVAL, Call(HvmOp.FlushTlbs));
        Assert.Equal(0, Call(HvmOp.GuestRequestVmEvent, 0));
        Assert.Equal(-(long)Errno.EINVAL, Call(HvmOp.GuestRequestVmEvent));
        Assert.Equal(["flush", "request"], _guest.Log);
        _guest.SystemTime = 123456789;
        Assert.Equal(0, Call(HvmOp.GetTime));
        Assert.Equal(123456789UL, _guest.Get<ulong>());
        Assert.Equal(-(long)Errno.EINVAL, Call(HvmOp.PagetableDying));
    }

    [Theory]
    [InlineData(2u)]
    [InlineData(6u)]
    [InlineData(8u)]
    [InlineData(14u)]
    [InlineData(17u)]
    [InlineData(26u)]
    public void What_moved_to_the_device_models_call_is_gone(uint command) =>
        Assert.Equal(-(long)Errno.ENOSYS, Call(command));

    [Fact]
    public void The_type_of_a_page_is_told()
    {
        _guest.Put(new HvmGetMemType { Domid = SpecialDomain.Self, Pfn = 2 });
        Assert.Equal(0, Call(HvmOp.GetMemType));
        Assert.Equal(HvmMemType.RamRw, _guest.Get<HvmGetMemType>().MemType);
        _guest.Put(new HvmGetMemType { Domid = SpecialDomain.Self, Pfn = 0xFEE00 });
        Assert.Equal(0, Call(HvmOp.GetMemType));
        Assert.Equal(HvmMemType.MmioDm, _guest.Get<HvmGetMemType>().MemType);
    }

    [Theory]
    [InlineData(1u, 0xF3, Errno.None)]
    [InlineData(1u, 0x0F, Errno.EINVAL)]
    [InlineData(4u, 0xF3, Errno.ENOENT)]
    public void A_vcpu_can_have_an_upcall_vector(uint vcpu, byte vector, Errno expected)
    {
        _guest.Put(new HvmEvtchnUpcallVector { Vcpu = vcpu, Vector = vector });
        Assert.Equal(-(long)expected, Call(HvmOp.SetEvtchnUpcallVector));
        Assert.Equal(expected == Errno.None, _guest.Log.Contains("vector 1 f3"));
    }

    // vendor | command | mode | active | expected
    [Theory]
    [InlineData(CpuVendor.Svm, 1u, 1, true, Errno.EOPNOTSUPP)]
    [InlineData(CpuVendor.Vmx, 0u, 1, true, Errno.EOPNOTSUPP)]
    [InlineData(CpuVendor.Vmx, 99u, 1, true, Errno.EOPNOTSUPP)]
    [InlineData(CpuVendor.Vmx, 1u, 0, false, Errno.EINVAL)]
    [InlineData(CpuVendor.Vmx, 2u, 0, false, Errno.EINVAL)]
    [InlineData(CpuVendor.Vmx, 4u, 0, false, Errno.EOPNOTSUPP)]
    [InlineData(CpuVendor.Vmx, 1u, 1, false, Errno.None)]
    [InlineData(CpuVendor.Vmx, 4u, 1, true, Errno.None)]
    [InlineData(CpuVendor.Vmx, 1u, 2, true, Errno.EPERM)]
    [InlineData(CpuVendor.Vmx, 3u, 2, true, Errno.EPERM)]
    [InlineData(CpuVendor.Vmx, 3u, 3, true, Errno.None)]
    [InlineData(CpuVendor.Vmx, 4u, 3, true, Errno.EPERM)]
    public void Altp2m_follows_vendor_mode_and_state(CpuVendor vendor, uint command, int mode, bool active, Errno expected)
    {
        _guest.Vendor = vendor;
        _guest.AltP2mActive = active;
        _guest.Params[HvmParam.AltP2m] = (ulong)mode;
        _guest.Put(new HvmAltP2mOp { Version = 1, Command = command, Domain = SpecialDomain.Self });
        Assert.Equal(-(long)expected, Call(HvmOp.AltP2m));
        Assert.Equal(expected == Errno.None, _guest.Log.Contains($"altp2m {command}"));
    }

    // command | answer | whether the structure is written
    [Theory]
    [InlineData(1u, Errno.None, true)]
    [InlineData(2u, Errno.None, false)]
    [InlineData(4u, Errno.None, true)]
    [InlineData(4u, Errno.EINVAL, false)]
    [InlineData(5u, Errno.None, false)]
    [InlineData(11u, Errno.None, true)]
    [InlineData(11u, Errno.ESRCH, false)]
    [InlineData(12u, Errno.None, true)]
    [InlineData(14u, Errno.None, true)]
    [InlineData(15u, Errno.None, true)]
    [InlineData(15u, Errno.EINVAL, false)]
    [InlineData(16u, Errno.None, false)]
    public void Altp2m_writes_back_what_Xen_writes(uint command, Errno answer, bool written)
    {
        PutAltP2m(command);
        _guest.AltP2mAnswers.Enqueue(answer);
        Assert.Equal(-(long)answer, Call(HvmOp.AltP2m));
        Assert.Equal(written, _guest.Get<HvmAltP2mOp>().DomainState == 1);
    }

    [Fact]
    public void Altp2m_that_has_more_to_do_is_called_again()
    {
        PutAltP2m(15);
        _guest.AltP2mAnswers.Enqueue(Errno.ERESTART);
        Assert.Equal(0, Call(HvmOp.AltP2m));
        Assert.Equal((1, 2), (_guest.Continued, _guest.Log.Count(line => line == "altp2m 15")));
        Assert.Equal(1, _guest.Get<HvmAltP2mOp>().DomainState);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Access_lists_lie_where_the_callers_mode_puts_them_and_only_the_progress_is_written(bool is64)
    {
        _guest.Is64 = is64;
        PutAltP2m(9);
        var operation = _guest.Get<HvmAltP2mOp>();
        operation.SetMemAccessMulti.Nr = 3;
        operation.SetMemAccessMulti.PfnList = is64 ? 0x1_2345_6000 : 0x1111_0000 | (0x2222_0000UL << 32);
        operation.SetMemAccessMulti.AccessList = is64 ? 0x1_2345_7000UL : 0;
        _guest.Put(operation);
        _guest.AltP2mAnswers.Enqueue(Errno.ERESTART);
        Assert.Equal(0, Call(HvmOp.AltP2m));
        var place = is64 ? "123456000 123457000" : "11110000 22220000";
        Assert.Equal([$"access 0 {place}", $"access 1 {place}"], _guest.Log.Where(line => line.StartsWith("access", StringComparison.Ordinal)));
        var written = _guest.Get<HvmAltP2mOp>().SetMemAccessMulti;
        Assert.Equal((1UL, 3u, operation.SetMemAccessMulti.PfnList), (written.Opaque, written.Nr, written.PfnList));
    }

    // mode | active | command
    [Theory]
    [InlineData(AltP2mUse.Mixed, false, 4u)]
    [InlineData(AltP2mUse.Disabled, false, 1u)]
    [InlineData(AltP2mUse.Mixed, true, 1u)]
    [InlineData(AltP2mUse.Limited, true, 3u)]
    public void Another_domains_altp2m_is_refused_and_nothing_of_it_is_told(AltP2mUse use, bool active, uint command)
    {
        _guest.OtherViews[9] = (active, (AltP2mMode)use);
        _guest.Put(new HvmAltP2mOp { Version = 1, Command = command, Domain = 9 });
        Assert.Equal(-(long)Errno.EPERM, Call(HvmOp.AltP2m));
    }

    [Fact]
    public void Altp2m_looks_at_version_padding_and_domain()
    {
        _guest.Put(new HvmAltP2mOp { Version = 2, Command = 1, Domain = SpecialDomain.Self });
        Assert.Equal(-(long)Errno.EINVAL, Call(HvmOp.AltP2m));
        _guest.Put(new HvmAltP2mOp { Version = 1, Command = 1, Domain = SpecialDomain.Self });
        _guest.Memory[12] = 1;
        Assert.Equal(-(long)Errno.EINVAL, Call(HvmOp.AltP2m));
        _guest.Put(new HvmAltP2mOp { Version = 1, Command = 1, Domain = 9 });
        Assert.Equal(-(long)Errno.ESRCH, Call(HvmOp.AltP2m));
        Assert.Equal(-(long)Errno.EFAULT, Call(HvmOp.AltP2m, 8));
    }

    private void PutAltP2m(uint command)
    {
        _guest.AltP2mActive = true;
        _guest.Params[HvmParam.AltP2m] = (ulong)AltP2mMode.Mixed;
        _guest.Put(new HvmAltP2mOp { Version = 1, Command = command, Domain = SpecialDomain.Self });
    }
}
