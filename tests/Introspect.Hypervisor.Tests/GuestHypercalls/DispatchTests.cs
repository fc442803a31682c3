using System.Text;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Hypercalls.Guest;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Tests.GuestHypercalls;

public sealed class DispatchTests
{
    private const ulong Bad = 0x9000_0000;
    private readonly FakeGuest _guest = new();

    [Theory]
    [InlineData(0u)] // set_trap_table and others are for PV guests
    [InlineData(1u)]
    [InlineData(11u)]
    [InlineData(23u)]
    [InlineData(HypercallNumber.MmuextOp)]
    [InlineData(HypercallNumber.XsmOp)]
    [InlineData(HypercallNumber.NmiOp)]
    [InlineData(HypercallNumber.CallbackOp)]
    [InlineData(HypercallNumber.PhysdevOp)]
    [InlineData(HypercallNumber.KexecOp)]
    [InlineData(HypercallNumber.ArgoOp)]
    [InlineData(48u)]
    [InlineData(127u)]
    [InlineData(0xFFFF_FFFFu)]
    public void What_an_HVM_guest_does_not_have_is_ENOSYS(uint number)
    {
        foreach (var is64 in new[] { true, false })
        {
            _guest.Is64 = is64;
            Assert.Equal(-(long)Errno.ENOSYS, _guest.Call(number, 1, FakeGuest.Base));
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void Above_CPL_0_nothing_is_allowed(int cpl)
    {
        _guest.Cpl = cpl;
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(HypercallNumber.XenVersion));
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(0xFFFF));
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(HypercallNumber.HvmOp, HvmOp.GuestRequestVmEvent));
    }

    [Fact]
    public void A_monitor_may_allow_guest_requests_from_user_space_and_nothing_else()
    {
        _guest.Cpl = 3;
        _guest.GuestRequestFromUserspace = true;
        Assert.Equal(0, _guest.Call(HypercallNumber.HvmOp, HvmOp.GuestRequestVmEvent));
        Assert.Equal(["request"], _guest.Log);
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(HypercallNumber.HvmOp, HvmOp.FlushTlbs));
    }

    [Fact]
    public void In_32_bit_modes_the_upper_halves_of_registers_do_not_count()
    {
        _guest.Is64 = false;
        var arguments = new HypercallArguments
        {
            Op = HypercallNumber.XenVersion | (1UL << 40),
            A1 = XenVersionOp.PageSize | (1UL << 32),
            A2 = 1UL << 32,
        };
        Assert.Equal(4096, GuestHypercalls_Dispatch(arguments).Value);
        arguments.Is64 = true;
        Assert.Equal(-(long)Errno.ENOSYS, GuestHypercalls_Dispatch(arguments).Value);
    }

    private HypercallResult GuestHypercalls_Dispatch(HypercallArguments arguments) =>
        Core.Hypercalls.Guest.GuestHypercalls.Dispatch(in arguments, _guest);

    [Fact]
    public void Sysctl_tells_its_version_before_it_refuses()
    {
        // What a test program does that looks for the interface's version.
        var found = -1;
        for (var version = 0u; version < 128 && found < 0; version++)
        {
            _guest.Put(version, FakeGuest.Base + 4);
            if (_guest.Call(HypercallNumber.Sysctl, FakeGuest.Base) != -(long)Errno.EACCES)
            {
                found = (int)version;
            }
        }

        Assert.Equal((int)XenInterface.CoreSysctl, found);
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(HypercallNumber.Sysctl, FakeGuest.Base));
        Assert.Equal(-(long)Errno.EFAULT, _guest.Call(HypercallNumber.Sysctl, Bad));
    }

    [Fact]
    public void Domctl_checks_version_then_domain_then_right()
    {
        _guest.Put(new XenDomctl { Command = DomctlCommand.PauseDomain, InterfaceVersion = 3, Domain = 77 });
        Assert.Equal(-(long)Errno.EACCES, _guest.Call(HypercallNumber.Domctl, FakeGuest.Base));
        _guest.Put(XenInterface.CoreDomctl, FakeGuest.Base + 4);
        Assert.Equal(-(long)Errno.ESRCH, _guest.Call(HypercallNumber.Domctl, FakeGuest.Base));
        _guest.Put((ushort)5, FakeGuest.Base + 8);
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(HypercallNumber.Domctl, FakeGuest.Base));
        Assert.Equal(-(long)Errno.EFAULT, _guest.Call(HypercallNumber.Domctl, Bad));
    }

    [Fact]
    public void Platform_device_model_and_performance_calls_are_refused()
    {
        _guest.Put(0x0300_0000u, FakeGuest.Base + 4);
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(7, FakeGuest.Base));
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(HypercallNumber.DmOp, 5));
        Assert.Equal(-(long)Errno.ESRCH, _guest.Call(HypercallNumber.DmOp, SpecialDomain.Self));
        Assert.Equal(-(long)Errno.ESRCH, _guest.Call(HypercallNumber.DmOp, 9));
        Assert.Equal(-(long)Errno.EOPNOTSUPP, _guest.Call(HypercallNumber.XenpmuOp));
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(HypercallNumber.HypfsOp));
    }

    [Theory]
    [InlineData(0u, 5u, 0)]
    [InlineData(1u, 5u, 0)]
    [InlineData(2u, 5u, -(int)Errno.ENOSYS)]
    [InlineData(0u, 4u, -(int)Errno.EINVAL)]
    [InlineData(0u, 99u, -(int)Errno.EINVAL)]
    public void Vm_assist_has_the_runstate_flag(uint command, uint type, int expected)
    {
        Assert.Equal(expected, _guest.Call(HypercallNumber.VmAssist, command, type));
        Assert.Equal(expected == 0 && command == 0, _guest.RunstateUpdateFlag);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Multicalls_do_each_call_and_keep_each_result(bool is64)
    {
        _guest.Is64 = is64;
        var width = is64 ? 8u : 4u;
        const int Calls = 70;
        for (var i = 0u; i < Calls; i++)
        {
            Write(i, 0, HypercallNumber.XenVersion);
            Write(i, 2, XenVersionOp.PageSize);
            Write(i, 3, i % 2);
        }

        Assert.Equal(0, _guest.Call(HypercallNumber.Multicall, FakeGuest.Base, Calls));
        Assert.Equal(2, _guest.Continued);
        for (var i = 0u; i < Calls; i++)
        {
            var address = FakeGuest.Base + (i * 8 * width) + width;
            var result = is64 ? _guest.Get<long>(address) : _guest.Get<int>(address);
            Assert.Equal(i % 2 == 0 ? 4096 : -(long)Errno.EINVAL, result);
        }

        Assert.Equal(-(long)Errno.EFAULT, _guest.Call(HypercallNumber.Multicall, Bad, 1));

        void Write(uint call, uint word, ulong value)
        {
            var address = FakeGuest.Base + (((call * 8) + word) * width);
            if (is64)
            {
                _guest.Put(value, address);
            }
            else
            {
                _guest.Put((uint)value, address);
            }
        }
    }

    [Fact]
    public void A_multicall_in_a_multicall_is_refused()
    {
        _guest.Put((ulong)HypercallNumber.Multicall);
        Assert.Equal(0, _guest.Call(HypercallNumber.Multicall, FakeGuest.Base, 1));
        Assert.Equal(-(long)Errno.ENOSYS, _guest.Get<long>(FakeGuest.Base + 8));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Console_output_arrives(bool is64)
    {
        _guest.Is64 = is64;
        "Test result: SUCCESS\r\n\0\x1b"u8.CopyTo(_guest.Memory);
        Assert.Equal(0, _guest.Call(HypercallNumber.ConsoleIo, ConsoleIo.Write, 24, FakeGuest.Base));
        var buffer = new byte[64];
        ulong position = 0;
        var n = _guest.Console.Read(ref position, buffer);
        Assert.Equal("Test result: SUCCESS\n", Encoding.ASCII.GetString(buffer, 0, n));
    }

    [Fact]
    public void Long_console_output_is_done_in_pieces_and_a_bad_buffer_ends_it()
    {
        Assert.Equal(0, _guest.Call(HypercallNumber.ConsoleIo, ConsoleIo.Write, FakeGuest.Size, FakeGuest.Base));
        Assert.Equal(
            -(long)Errno.EFAULT,
            _guest.Call(HypercallNumber.ConsoleIo, ConsoleIo.Write, 0xFFFF_FFFF, FakeGuest.Base));
        Assert.Equal(1, _guest.Continued);
        Assert.Equal(-(long)Errno.ENOSYS, _guest.Call(HypercallNumber.ConsoleIo, 2, 1, FakeGuest.Base));
    }

    [Fact]
    public void Console_input_is_for_control_domains()
    {
        _guest.Console.QueueInput("ls\n"u8);
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(HypercallNumber.ConsoleIo, ConsoleIo.Read, 16, FakeGuest.Base));
        _guest.Roles = DomainRoles.Hardware;
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(HypercallNumber.ConsoleIo, ConsoleIo.Read, 16, FakeGuest.Base));
        _guest.Roles = DomainRoles.Control;
        Assert.Equal(3, _guest.Call(HypercallNumber.ConsoleIo, ConsoleIo.Read, 16, FakeGuest.Base));
        Assert.Equal((byte)'l', _guest.Memory[0]);
        Assert.Equal(-(long)Errno.E2BIG, _guest.Call(HypercallNumber.ConsoleIo, ConsoleIo.Read, 0x8000_0000, FakeGuest.Base));
    }
}
