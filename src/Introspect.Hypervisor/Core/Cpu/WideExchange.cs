using System.Runtime.InteropServices;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// Atomic compare and exchange of 16 bytes, for which the runtime has no method: a few native instructions
/// where the host is x86-64 and lets us make code.
/// </summary>
internal static unsafe class WideExchange
{
    // push rbx; mov rbx,[rdx]; mov rcx,[rdx+8]; mov rax,[rsi]; mov rdx,[rsi+8]; lock cmpxchg16b [rdi];
    // mov [rsi],rax; mov [rsi+8],rdx; sete al; movzx eax,al; pop rbx; ret
    private static ReadOnlySpan<byte> Code =>
    [
        0x53, 0x48, 0x8B, 0x1A, 0x48, 0x8B, 0x4A, 0x08, 0x48, 0x8B, 0x06, 0x48, 0x8B, 0x56, 0x08,
        0xF0, 0x48, 0x0F, 0xC7, 0x0F, 0x48, 0x89, 0x06, 0x48, 0x89, 0x56, 0x08, 0x0F, 0x94, 0xC0,
        0x0F, 0xB6, 0xC0, 0x5B, 0xC3,
    ];

    private static readonly Lock Serial = new();
    private static readonly MappedMemory? Native = MakeNative();
    private static readonly delegate* unmanaged[SuppressGCTransition]<ulong*, ulong*, ulong*, int> Exchange =
        Native == null ? null : (delegate* unmanaged[SuppressGCTransition]<ulong*, ulong*, ulong*, int>)Native.Address;

    /// <summary>Replaces the pair at an address if it is the expected one; the expected pair becomes what was found.</summary>
    public static bool CompareExchange(ulong* p, ulong* expected, ulong* replacement) =>
        Exchange != null ? Exchange(p, expected, replacement) != 0 : CompareExchangeSerial(p, expected, replacement);

    /// <summary>Without native code: atomic against other such exchanges, not against single stores of another CPU.</summary>
    internal static bool CompareExchangeSerial(ulong* p, ulong* expected, ulong* replacement)
    {
        lock (Serial)
        {
            var low = Volatile.Read(ref p[0]);
            var high = Volatile.Read(ref p[1]);
            var equal = low == expected[0] && high == expected[1];
            if (equal)
            {
                p[0] = replacement[0];
                Volatile.Write(ref p[1], replacement[1]);
            }

            expected[0] = low;
            expected[1] = high;
            return equal;
        }
    }

    private static MappedMemory? MakeNative()
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            return null;
        }

        var page = MappedMemory.AllocatePrivate(Environment.SystemPageSize);
        Code.CopyTo(page.Span);
        try
        {
            page.MakeExecutable(0, page.Length);
            return page;
        }
        catch (HypervisorException)
        {
            // A host whose policy forbids new code.
            page.Dispose();
            return null;
        }
    }
}
