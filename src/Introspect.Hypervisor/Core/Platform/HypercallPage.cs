using System.Buffers.Binary;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>The hypercall page: a guest calls the stub of a hypercall's number, and the vendor's instruction is in it.</summary>
internal static class HypercallPage
{
    /// <summary>Bytes of a stub.</summary>
    public const int StubSize = 32;

    /// <summary><c>__HYPERVISOR_iret</c>, which an HVM guest cannot call.</summary>
    private const int Iret = 23;

    /// <summary>Fills a page with 128 stubs: <c>mov eax, number; vmcall or vmmcall; ret</c>. Other bytes stay as they are.</summary>
    public static void Build(CpuVendor vendor, Span<byte> page)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(page.Length, Gfn.PageSize);
        for (var number = 0; number < Gfn.PageSize / StubSize; number++)
        {
            var stub = page.Slice(number * StubSize, StubSize);
            if (number == Iret)
            {
                stub[0] = 0x0F; // ud2
                stub[1] = 0x0B;
                continue;
            }

            stub[0] = 0xB8; // mov eax, imm32
            BinaryPrimitives.WriteInt32LittleEndian(stub[1..], number);
            stub[5] = 0x0F;
            stub[6] = 0x01;
            stub[7] = vendor == CpuVendor.Vmx ? (byte)0xC1 : (byte)0xD9; // vmcall, vmmcall
            stub[8] = 0xC3; // ret
        }
    }
}
