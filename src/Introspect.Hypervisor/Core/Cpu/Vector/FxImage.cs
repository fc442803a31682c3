namespace Introspect.Hypervisor.Core.Cpu.VectorUnit;

/// <summary>
/// The image that FXSAVE writes (Intel SDM vol. 1, 10.5.1), which is also the legacy part of an XSAVE area. The
/// x87 registers are in it from the top of the stack on, the tags by physical number.
/// </summary>
internal static unsafe class FxImage
{
    /// <summary>Bytes of the image.</summary>
    public const int Size = 512;

    /// <summary>Bits of MXCSR that exist.</summary>
    public const uint MxcsrMask = 0xFFFF;

    public const int MxcsrOffset = 24;
    public const int X87Offset = 32;
    public const int XmmOffset = 160;

    /// <summary>Writes the x87 part but for MXCSR: bytes 0–23 and the eight registers.</summary>
    /// <param name="s">The CPU.</param>
    /// <param name="image">Where to.</param>
    /// <param name="wide">Instruction and data pointer have 64 bits; otherwise 32 bits and a selector, which is 0.</param>
    public static void StoreX87(CpuState* s, byte* image, bool wide)
    {
        *(ushort*)image = s->Fcw;
        *(ushort*)(image + 2) = s->Fsw;
        *(ushort*)(image + 4) = s->FtwAbridged;
        *(ushort*)(image + 6) = s->Fop;
        *(ulong*)(image + 8) = wide ? s->Fip : (uint)s->Fip;
        *(ulong*)(image + 16) = wide ? s->Fdp : (uint)s->Fdp;
        StoreStack(s, image + X87Offset, 16);
    }

    /// <summary>Reads what <see cref="StoreX87"/> wrote.</summary>
    public static void LoadX87(CpuState* s, byte* image, bool wide)
    {
        s->Fsw = *(ushort*)(image + 2);
        s->FtwAbridged = image[4];
        s->Fop = (ushort)(*(ushort*)(image + 6) & 0x7FF);
        s->Fip = wide ? *(ulong*)(image + 8) : *(uint*)(image + 8);
        s->Fdp = wide ? *(ulong*)(image + 16) : *(uint*)(image + 16);
        X87Status.SetControl(s, *(ushort*)image);
        LoadStack(s, image + X87Offset, 16);
    }

    /// <summary>The registers from ST(0) on, at a distance from each other of 10 or 16 bytes.</summary>
    public static void StoreStack(CpuState* s, byte* to, int stride)
    {
        var top = X87Status.Top(s);
        for (var n = 0; n < 8; n++)
        {
            var register = &s->X87[((top + n) & 7) * 2];
            var slot = to + (n * stride);
            *(ulong*)slot = register[0];
            *(ushort*)(slot + 8) = (ushort)register[1];
            if (stride == 16)
            {
                *(ushort*)(slot + 10) = 0;
                *(uint*)(slot + 12) = 0;
            }
        }
    }

    /// <summary>Reads what <see cref="StoreStack"/> wrote, by the top of the stack in force.</summary>
    public static void LoadStack(CpuState* s, byte* from, int stride)
    {
        var top = X87Status.Top(s);
        for (var n = 0; n < 8; n++)
        {
            var register = &s->X87[((top + n) & 7) * 2];
            register[0] = *(ulong*)(from + (n * stride));
            register[1] = *(ushort*)(from + (n * stride) + 8);
        }
    }

    /// <summary>Writes the first XMM registers.</summary>
    public static void StoreXmm(CpuState* s, byte* image, int count)
    {
        for (var n = 0; n < count; n++)
        {
            *(ulong*)(image + XmmOffset + (n * 16)) = s->Ymm[n * 4];
            *(ulong*)(image + XmmOffset + (n * 16) + 8) = s->Ymm[(n * 4) + 1];
        }
    }

    /// <summary>Reads the first XMM registers.</summary>
    public static void LoadXmm(CpuState* s, byte* image, int count)
    {
        for (var n = 0; n < count; n++)
        {
            s->Ymm[n * 4] = *(ulong*)(image + XmmOffset + (n * 16));
            s->Ymm[(n * 4) + 1] = *(ulong*)(image + XmmOffset + (n * 16) + 8);
        }
    }

    /// <summary>How many XMM registers the mode has.</summary>
    public static int XmmCount(CpuState* s) => CpuModes.Is64(s) ? 16 : 8;
}
