using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Tests.Platform;

public sealed class HypercallPageTests
{
    [Theory]
    [InlineData(CpuVendor.Vmx, 0xC1)]
    [InlineData(CpuVendor.Svm, 0xD9)]
    public void Each_stub_loads_its_number_and_calls(CpuVendor vendor, byte opcode)
    {
        var page = new byte[4096];
        Array.Fill(page, (byte)0xC3);
        HypercallPage.Build(vendor, page);
        for (var number = 0; number < 128; number++)
        {
            byte[] expected = number == 23
                ? [0x0F, 0x0B]
                : [0xB8, (byte)number, 0, 0, 0, 0x0F, 0x01, opcode, 0xC3];
            Assert.Equal(expected, page[(number * 32)..((number * 32) + expected.Length)]);
        }

        // Guests take a page that still starts with their own `ret` for one that was not written.
        Assert.NotEqual(0xC3, page[0]);
    }

    [Fact]
    public void Bytes_between_stubs_stay_as_they_are()
    {
        var page = new byte[4096];
        Array.Fill(page, (byte)0x5A);
        HypercallPage.Build(CpuVendor.Vmx, page);
        Assert.Equal(0x5A, page[9]);
        Assert.Equal(0x5A, page[31]);
        Assert.Equal(0x5A, page[(23 * 32) + 2]);
    }

    [Fact]
    public void Only_a_page_is_filled() =>
        Assert.Throws<ArgumentOutOfRangeException>(() => HypercallPage.Build(CpuVendor.Vmx, new byte[4095]));
}
