using System.Text;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Tests.GuestHypercalls;

public sealed class XenVersionTests
{
    private readonly FakeGuest _guest = new();

    private long Call(uint command, ulong argument = FakeGuest.Base) =>
        _guest.Call(HypercallNumber.XenVersion, command, argument);

    [Fact]
    public void The_version_is_4_17() => Assert.Equal(0x0004_0011, Call(XenVersionOp.Version));

    [Theory]
    [InlineData(XenVersionOp.ExtraVersion, 16)]
    [InlineData(XenVersionOp.CompileInfo, 144)]
    [InlineData(XenVersionOp.Capabilities, 1024)]
    [InlineData(XenVersionOp.Changeset, 64)]
    public void Texts_fill_their_whole_field_with_zeroes_behind(uint command, int size)
    {
        Array.Fill(_guest.Memory, (byte)0xAA);
        Assert.Equal(0, Call(command));
        var field = _guest.Memory.AsSpan(0, size);
        Assert.Equal(0xAA, _guest.Memory[size]);
        Assert.Equal(0, field[^1]);
        Assert.DoesNotContain((byte)0xAA, field.ToArray());

        // Behind each text's end there is nothing left of ours.
        int[] fields = command == XenVersionOp.CompileInfo ? [0, 64, 80, 112, 144] : [0, size];
        for (var i = 0; i + 1 < fields.Length; i++)
        {
            var part = field[fields[i]..fields[i + 1]];
            var end = part.IndexOf((byte)0);
            Assert.True(end >= 0 && part[end..].IndexOfAnyExcept((byte)0) < 0);
        }

        Assert.Equal(-(long)Errno.EFAULT, Call(command, 8));
    }

    [Theory]
    [InlineData(true, 8)]
    [InlineData(false, 4)]
    public void Platform_parameters_have_a_long(bool is64, int size)
    {
        _guest.Is64 = is64;
        Array.Fill(_guest.Memory, (byte)0xAA);
        Assert.Equal(0, Call(XenVersionOp.PlatformParameters));
        Assert.Equal(0xAA, _guest.Memory[size]);
        Assert.NotEqual(0xAA, _guest.Memory[size - 1]);
    }

    [Fact]
    public void Features_say_what_an_HVM_guest_relies_on()
    {
        _guest.Put(new XenFeatureInfo { SubmapIndex = 0 });
        Assert.Equal(0, Call(XenVersionOp.GetFeatures));
        Assert.Equal(
            (1u << 0) | (1u << 2) | (1u << 8) | (1u << 9) | (1u << 13) | (1u << 16), _guest.Get<XenFeatureInfo>().Submap);
        _guest.Put(new XenFeatureInfo { SubmapIndex = 1 });
        Assert.Equal(-(long)Errno.EINVAL, Call(XenVersionOp.GetFeatures));
        Assert.Equal(-(long)Errno.EFAULT, Call(XenVersionOp.GetFeatures, 8));
    }

    [Fact]
    public void The_page_size_takes_no_argument()
    {
        Assert.Equal(4096, Call(XenVersionOp.PageSize, 0));
        Assert.Equal(-(long)Errno.EINVAL, Call(XenVersionOp.PageSize));
    }

    [Fact]
    public void The_handle_is_the_domains()
    {
        Assert.Equal(0, Call(XenVersionOp.GuestHandle));
        Assert.Equal(_guest.DomainHandle, _guest.Memory.AsSpan(0, 16));
    }

    [Fact]
    public void The_command_line_and_build_id_are_for_control_domains()
    {
        Assert.Equal(0, Call(XenVersionOp.CommandLine));
        Assert.Equal("<denied>\0", Encoding.ASCII.GetString(_guest.Memory, 0, 9));
        Assert.Equal(-(long)Errno.EPERM, Call(XenVersionOp.BuildId));
        _guest.Roles = DomainRoles.Hardware;
        Assert.Equal(-(long)Errno.EPERM, Call(XenVersionOp.BuildId));
        _guest.Roles = DomainRoles.Control;
        Assert.Equal(0, Call(XenVersionOp.CommandLine));
        Assert.Equal(0, _guest.Memory[0]);
        Assert.Equal(-(long)Errno.ENODATA, Call(XenVersionOp.BuildId));
        Assert.Equal(-(long)Errno.ENOSYS, Call(11));
    }
}
