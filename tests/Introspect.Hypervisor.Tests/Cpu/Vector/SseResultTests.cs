using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Cpu.VectorUnit;

/// <summary>Results of SSE instructions with two vector operands, against the same operations compiled for this host.</summary>
public sealed unsafe class SseResultTests
{
    private const int RandomPairs = 12;

    private static readonly uint[] Singles =
    [
        0x00000000, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC12345, 0x7F812345,
        0x00000001, 0x807FFFFF, 0x00800000, 0x7F7FFFFF, 0x4F000000, 0xCF000000, 0x3F000000, 0x40200000, 0x4EFFFFFF,
    ];

    private static readonly ulong[] Doubles =
    [
        0, 0x8000000000000000, 0x3FF0000000000000, 0x7FF0000000000000, 0xFFF0000000000000, 0x7FF8000000000000,
        0x7FF0000000012345, 0x0000000000000001, 0x800FFFFFFFFFFFFF, 0x0010000000000000, 0x7FEFFFFFFFFFFFFF,
        0x41E0000000000000, 0xC1E0000000000000, 0x3FE0000000000000, 0x4004000000000000, 0x36A0000000000000,
    ];

    private static readonly Dictionary<string, (Encode Encode, Compute Compute)> Operations = new()
    {
        ["addps"] = ((c, a, b) => c.addps(a, b), (a, b) => Sse.Add(a.AsSingle(), b.AsSingle()).AsByte()),
        ["addss"] = ((c, a, b) => c.addss(a, b), (a, b) => Sse.AddScalar(a.AsSingle(), b.AsSingle()).AsByte()),
        ["addpd"] = ((c, a, b) => c.addpd(a, b), (a, b) => Sse2.Add(a.AsDouble(), b.AsDouble()).AsByte()),
        ["addsd"] = ((c, a, b) => c.addsd(a, b), (a, b) => Sse2.AddScalar(a.AsDouble(), b.AsDouble()).AsByte()),
        ["subps"] = ((c, a, b) => c.subps(a, b), (a, b) => Sse.Subtract(a.AsSingle(), b.AsSingle()).AsByte()),
        ["subss"] = ((c, a, b) => c.subss(a, b), (a, b) => Sse.SubtractScalar(a.AsSingle(), b.AsSingle()).AsByte()),
        ["subpd"] = ((c, a, b) => c.subpd(a, b), (a, b) => Sse2.Subtract(a.AsDouble(), b.AsDouble()).AsByte()),
        ["subsd"] = ((c, a, b) => c.subsd(a, b), (a, b) => Sse2.SubtractScalar(a.AsDouble(), b.AsDouble()).AsByte()),
        ["mulps"] = ((c, a, b) => c.mulps(a, b), (a, b) => Sse.Multiply(a.AsSingle(), b.AsSingle()).AsByte()),
        ["mulss"] = ((c, a, b) => c.mulss(a, b), (a, b) => Sse.MultiplyScalar(a.AsSingle(), b.AsSingle()).AsByte()),
        ["mulpd"] = ((c, a, b) => c.mulpd(a, b), (a, b) => Sse2.Multiply(a.AsDouble(), b.AsDouble()).AsByte()),
        ["mulsd"] = ((c, a, b) => c.mulsd(a, b), (a, b) => Sse2.MultiplyScalar(a.AsDouble(), b.AsDouble()).AsByte()),
        ["divps"] = ((c, a, b) => c.divps(a, b), (a, b) => Sse.Divide(a.AsSingle(), b.AsSingle()).AsByte()),
        ["divss"] = ((c, a, b) => c.divss(a, b), (a, b) => Sse.DivideScalar(a.AsSingle(), b.AsSingle()).AsByte()),
        ["divpd"] = ((c, a, b) => c.divpd(a, b), (a, b) => Sse2.Divide(a.AsDouble(), b.AsDouble()).AsByte()),
        ["divsd"] = ((c, a, b) => c.divsd(a, b), (a, b) => Sse2.DivideScalar(a.AsDouble(), b.AsDouble()).AsByte()),
        ["minps"] = ((c, a, b) => c.minps(a, b), (a, b) => Sse.Min(a.AsSingle(), b.AsSingle()).AsByte()),
        ["minss"] = ((c, a, b) => c.minss(a, b), (a, b) => Sse.MinScalar(a.AsSingle(), b.AsSingle()).AsByte()),
        ["minpd"] = ((c, a, b) => c.minpd(a, b), (a, b) => Sse2.Min(a.AsDouble(), b.AsDouble()).AsByte()),
        ["minsd"] = ((c, a, b) => c.minsd(a, b), (a, b) => Sse2.MinScalar(a.AsDouble(), b.AsDouble()).AsByte()),
        ["maxps"] = ((c, a, b) => c.maxps(a, b), (a, b) => Sse.Max(a.AsSingle(), b.AsSingle()).AsByte()),
        ["maxss"] = ((c, a, b) => c.maxss(a, b), (a, b) => Sse.MaxScalar(a.AsSingle(), b.AsSingle()).AsByte()),
        ["maxpd"] = ((c, a, b) => c.maxpd(a, b), (a, b) => Sse2.Max(a.AsDouble(), b.AsDouble()).AsByte()),
        ["maxsd"] = ((c, a, b) => c.maxsd(a, b), (a, b) => Sse2.MaxScalar(a.AsDouble(), b.AsDouble()).AsByte()),
        ["sqrtps"] = ((c, a, b) => c.sqrtps(a, b), (a, b) => Sse.Sqrt(b.AsSingle()).AsByte()),
        ["sqrtpd"] = ((c, a, b) => c.sqrtpd(a, b), (a, b) => Sse2.Sqrt(b.AsDouble()).AsByte()),
        ["sqrtss"] = ((c, a, b) => c.sqrtss(a, b), (a, b) => Sse.SqrtScalar(a.AsSingle(), b.AsSingle()).AsByte()),
        ["sqrtsd"] = ((c, a, b) => c.sqrtsd(a, b), (a, b) => Sse2.SqrtScalar(a.AsDouble(), b.AsDouble()).AsByte()),
        ["rcpps"] = ((c, a, b) => c.rcpps(a, b), (a, b) => Sse.Reciprocal(b.AsSingle()).AsByte()),
        ["rsqrtps"] = ((c, a, b) => c.rsqrtps(a, b), (a, b) => Sse.ReciprocalSqrt(b.AsSingle()).AsByte()),
        ["andps"] = ((c, a, b) => c.andps(a, b), (a, b) => Sse.And(a.AsSingle(), b.AsSingle()).AsByte()),
        ["andpd"] = ((c, a, b) => c.andpd(a, b), (a, b) => Sse2.And(a.AsDouble(), b.AsDouble()).AsByte()),
        ["andnps"] = ((c, a, b) => c.andnps(a, b), (a, b) => Sse.AndNot(a.AsSingle(), b.AsSingle()).AsByte()),
        ["andnpd"] = ((c, a, b) => c.andnpd(a, b), (a, b) => Sse2.AndNot(a.AsDouble(), b.AsDouble()).AsByte()),
        ["orps"] = ((c, a, b) => c.orps(a, b), (a, b) => Sse.Or(a.AsSingle(), b.AsSingle()).AsByte()),
        ["orpd"] = ((c, a, b) => c.orpd(a, b), (a, b) => Sse2.Or(a.AsDouble(), b.AsDouble()).AsByte()),
        ["xorps"] = ((c, a, b) => c.xorps(a, b), (a, b) => Sse.Xor(a.AsSingle(), b.AsSingle()).AsByte()),
        ["xorpd"] = ((c, a, b) => c.xorpd(a, b), (a, b) => Sse2.Xor(a.AsDouble(), b.AsDouble()).AsByte()),
        ["pand"] = ((c, a, b) => c.pand(a, b), (a, b) => Sse2.And(a.AsUInt64(), b.AsUInt64()).AsByte()),
        ["pandn"] = ((c, a, b) => c.pandn(a, b), (a, b) => Sse2.AndNot(a.AsUInt64(), b.AsUInt64()).AsByte()),
        ["por"] = ((c, a, b) => c.por(a, b), (a, b) => Sse2.Or(a.AsUInt64(), b.AsUInt64()).AsByte()),
        ["pxor"] = ((c, a, b) => c.pxor(a, b), (a, b) => Sse2.Xor(a.AsUInt64(), b.AsUInt64()).AsByte()),
        ["unpcklps"] = ((c, a, b) => c.unpcklps(a, b), (a, b) => Sse.UnpackLow(a.AsSingle(), b.AsSingle()).AsByte()),
        ["unpckhps"] = ((c, a, b) => c.unpckhps(a, b), (a, b) => Sse.UnpackHigh(a.AsSingle(), b.AsSingle()).AsByte()),
        ["unpcklpd"] = ((c, a, b) => c.unpcklpd(a, b), (a, b) => Sse2.UnpackLow(a.AsDouble(), b.AsDouble()).AsByte()),
        ["unpckhpd"] = ((c, a, b) => c.unpckhpd(a, b), (a, b) => Sse2.UnpackHigh(a.AsDouble(), b.AsDouble()).AsByte()),
        ["movss"] = ((c, a, b) => c.movss(a, b), (a, b) => Sse.MoveScalar(a.AsSingle(), b.AsSingle()).AsByte()),
        ["movsd"] = ((c, a, b) => c.movsd(a, b), (a, b) => Sse2.MoveScalar(a.AsDouble(), b.AsDouble()).AsByte()),
        ["movhlps"] = ((c, a, b) => c.movhlps(a, b), (a, b) => Sse.MoveHighToLow(a.AsSingle(), b.AsSingle()).AsByte()),
        ["movlhps"] = ((c, a, b) => c.movlhps(a, b), (a, b) => Sse.MoveLowToHigh(a.AsSingle(), b.AsSingle()).AsByte()),
        ["paddb"] = ((c, a, b) => c.paddb(a, b), (a, b) => Sse2.Add(a.AsSByte(), b.AsSByte()).AsByte()),
        ["psubb"] = ((c, a, b) => c.psubb(a, b), (a, b) => Sse2.Subtract(a.AsSByte(), b.AsSByte()).AsByte()),
        ["paddw"] = ((c, a, b) => c.paddw(a, b), (a, b) => Sse2.Add(a.AsInt16(), b.AsInt16()).AsByte()),
        ["psubw"] = ((c, a, b) => c.psubw(a, b), (a, b) => Sse2.Subtract(a.AsInt16(), b.AsInt16()).AsByte()),
        ["paddd"] = ((c, a, b) => c.paddd(a, b), (a, b) => Sse2.Add(a.AsInt32(), b.AsInt32()).AsByte()),
        ["psubd"] = ((c, a, b) => c.psubd(a, b), (a, b) => Sse2.Subtract(a.AsInt32(), b.AsInt32()).AsByte()),
        ["paddq"] = ((c, a, b) => c.paddq(a, b), (a, b) => Sse2.Add(a.AsInt64(), b.AsInt64()).AsByte()),
        ["psubq"] = ((c, a, b) => c.psubq(a, b), (a, b) => Sse2.Subtract(a.AsInt64(), b.AsInt64()).AsByte()),
        ["pcmpeqb"] = ((c, a, b) => c.pcmpeqb(a, b), (a, b) => Sse2.CompareEqual(a.AsByte(), b.AsByte()).AsByte()),
        ["pcmpeqw"] = ((c, a, b) => c.pcmpeqw(a, b), (a, b) => Sse2.CompareEqual(a.AsInt16(), b.AsInt16()).AsByte()),
        ["pcmpeqd"] = ((c, a, b) => c.pcmpeqd(a, b), (a, b) => Sse2.CompareEqual(a.AsInt32(), b.AsInt32()).AsByte()),
        ["pcmpgtb"] = ((c, a, b) => c.pcmpgtb(a, b), (a, b) => Sse2.CompareGreaterThan(a.AsSByte(), b.AsSByte()).AsByte()),
        ["pcmpgtw"] = ((c, a, b) => c.pcmpgtw(a, b), (a, b) => Sse2.CompareGreaterThan(a.AsInt16(), b.AsInt16()).AsByte()),
        ["pcmpgtd"] = ((c, a, b) => c.pcmpgtd(a, b), (a, b) => Sse2.CompareGreaterThan(a.AsInt32(), b.AsInt32()).AsByte()),
        ["paddsb"] = ((c, a, b) => c.paddsb(a, b), (a, b) => Sse2.AddSaturate(a.AsSByte(), b.AsSByte()).AsByte()),
        ["psubsb"] = ((c, a, b) => c.psubsb(a, b), (a, b) => Sse2.SubtractSaturate(a.AsSByte(), b.AsSByte()).AsByte()),
        ["paddsw"] = ((c, a, b) => c.paddsw(a, b), (a, b) => Sse2.AddSaturate(a.AsInt16(), b.AsInt16()).AsByte()),
        ["psubsw"] = ((c, a, b) => c.psubsw(a, b), (a, b) => Sse2.SubtractSaturate(a.AsInt16(), b.AsInt16()).AsByte()),
        ["paddusb"] = ((c, a, b) => c.paddusb(a, b), (a, b) => Sse2.AddSaturate(a.AsByte(), b.AsByte()).AsByte()),
        ["psubusb"] = ((c, a, b) => c.psubusb(a, b), (a, b) => Sse2.SubtractSaturate(a.AsByte(), b.AsByte()).AsByte()),
        ["paddusw"] = ((c, a, b) => c.paddusw(a, b), (a, b) => Sse2.AddSaturate(a.AsUInt16(), b.AsUInt16()).AsByte()),
        ["psubusw"] = ((c, a, b) => c.psubusw(a, b), (a, b) => Sse2.SubtractSaturate(a.AsUInt16(), b.AsUInt16()).AsByte()),
        ["pmullw"] = ((c, a, b) => c.pmullw(a, b), (a, b) => Sse2.MultiplyLow(a.AsInt16(), b.AsInt16()).AsByte()),
        ["pmulhw"] = ((c, a, b) => c.pmulhw(a, b), (a, b) => Sse2.MultiplyHigh(a.AsInt16(), b.AsInt16()).AsByte()),
        ["pmulhuw"] = ((c, a, b) => c.pmulhuw(a, b), (a, b) => Sse2.MultiplyHigh(a.AsUInt16(), b.AsUInt16()).AsByte()),
        ["pmuludq"] = ((c, a, b) => c.pmuludq(a, b), (a, b) => Sse2.Multiply(a.AsUInt32(), b.AsUInt32()).AsByte()),
        ["pmaddwd"] = ((c, a, b) => c.pmaddwd(a, b), (a, b) => Sse2.MultiplyAddAdjacent(a.AsInt16(), b.AsInt16()).AsByte()),
        ["psadbw"] = ((c, a, b) => c.psadbw(a, b), (a, b) => Sse2.SumAbsoluteDifferences(a.AsByte(), b.AsByte()).AsByte()),
        ["pavgb"] = ((c, a, b) => c.pavgb(a, b), (a, b) => Sse2.Average(a.AsByte(), b.AsByte()).AsByte()),
        ["pavgw"] = ((c, a, b) => c.pavgw(a, b), (a, b) => Sse2.Average(a.AsUInt16(), b.AsUInt16()).AsByte()),
        ["pminub"] = ((c, a, b) => c.pminub(a, b), (a, b) => Sse2.Min(a.AsByte(), b.AsByte()).AsByte()),
        ["pmaxub"] = ((c, a, b) => c.pmaxub(a, b), (a, b) => Sse2.Max(a.AsByte(), b.AsByte()).AsByte()),
        ["pminsw"] = ((c, a, b) => c.pminsw(a, b), (a, b) => Sse2.Min(a.AsInt16(), b.AsInt16()).AsByte()),
        ["pmaxsw"] = ((c, a, b) => c.pmaxsw(a, b), (a, b) => Sse2.Max(a.AsInt16(), b.AsInt16()).AsByte()),
        ["packsswb"] = ((c, a, b) => c.packsswb(a, b), (a, b) => Sse2.PackSignedSaturate(a.AsInt16(), b.AsInt16()).AsByte()),
        ["packssdw"] = ((c, a, b) => c.packssdw(a, b), (a, b) => Sse2.PackSignedSaturate(a.AsInt32(), b.AsInt32()).AsByte()),
        ["packuswb"] = ((c, a, b) => c.packuswb(a, b), (a, b) => Sse2.PackUnsignedSaturate(a.AsInt16(), b.AsInt16()).AsByte()),
        ["punpcklbw"] = ((c, a, b) => c.punpcklbw(a, b), (a, b) => Sse2.UnpackLow(a.AsByte(), b.AsByte()).AsByte()),
        ["punpckhbw"] = ((c, a, b) => c.punpckhbw(a, b), (a, b) => Sse2.UnpackHigh(a.AsByte(), b.AsByte()).AsByte()),
        ["punpcklwd"] = ((c, a, b) => c.punpcklwd(a, b), (a, b) => Sse2.UnpackLow(a.AsInt16(), b.AsInt16()).AsByte()),
        ["punpckhwd"] = ((c, a, b) => c.punpckhwd(a, b), (a, b) => Sse2.UnpackHigh(a.AsInt16(), b.AsInt16()).AsByte()),
        ["punpckldq"] = ((c, a, b) => c.punpckldq(a, b), (a, b) => Sse2.UnpackLow(a.AsInt32(), b.AsInt32()).AsByte()),
        ["punpckhdq"] = ((c, a, b) => c.punpckhdq(a, b), (a, b) => Sse2.UnpackHigh(a.AsInt32(), b.AsInt32()).AsByte()),
        ["punpcklqdq"] = ((c, a, b) => c.punpcklqdq(a, b), (a, b) => Sse2.UnpackLow(a.AsInt64(), b.AsInt64()).AsByte()),
        ["punpckhqdq"] = ((c, a, b) => c.punpckhqdq(a, b), (a, b) => Sse2.UnpackHigh(a.AsInt64(), b.AsInt64()).AsByte()),
        ["psllw"] = ((c, a, b) => c.psllw(a, b), (a, b) => Sse2.ShiftLeftLogical(a.AsInt16(), b.AsInt16()).AsByte()),
        ["pslld"] = ((c, a, b) => c.pslld(a, b), (a, b) => Sse2.ShiftLeftLogical(a.AsInt32(), b.AsInt32()).AsByte()),
        ["psllq"] = ((c, a, b) => c.psllq(a, b), (a, b) => Sse2.ShiftLeftLogical(a.AsInt64(), b.AsInt64()).AsByte()),
        ["psrlw"] = ((c, a, b) => c.psrlw(a, b), (a, b) => Sse2.ShiftRightLogical(a.AsInt16(), b.AsInt16()).AsByte()),
        ["psrld"] = ((c, a, b) => c.psrld(a, b), (a, b) => Sse2.ShiftRightLogical(a.AsInt32(), b.AsInt32()).AsByte()),
        ["psrlq"] = ((c, a, b) => c.psrlq(a, b), (a, b) => Sse2.ShiftRightLogical(a.AsInt64(), b.AsInt64()).AsByte()),
        ["psraw"] = ((c, a, b) => c.psraw(a, b), (a, b) => Sse2.ShiftRightArithmetic(a.AsInt16(), b.AsInt16()).AsByte()),
        ["psrad"] = ((c, a, b) => c.psrad(a, b), (a, b) => Sse2.ShiftRightArithmetic(a.AsInt32(), b.AsInt32()).AsByte()),
        ["cvtdq2ps"] = ((c, a, b) => c.cvtdq2ps(a, b), (a, b) => Sse2.ConvertToVector128Single(b.AsInt32()).AsByte()),
        ["cvtdq2pd"] = ((c, a, b) => c.cvtdq2pd(a, b), (a, b) => Sse2.ConvertToVector128Double(b.AsInt32()).AsByte()),
        ["cvtps2pd"] = ((c, a, b) => c.cvtps2pd(a, b), (a, b) => Sse2.ConvertToVector128Double(b.AsSingle()).AsByte()),
        ["cvtpd2ps"] = ((c, a, b) => c.cvtpd2ps(a, b), (a, b) => Sse2.ConvertToVector128Single(b.AsDouble()).AsByte()),
        ["cvtps2dq"] = ((c, a, b) => c.cvtps2dq(a, b), (a, b) => Sse2.ConvertToVector128Int32(b.AsSingle()).AsByte()),
        ["cvttps2dq"] = ((c, a, b) => c.cvttps2dq(a, b), (a, b) => Sse2.ConvertToVector128Int32WithTruncation(b.AsSingle()).AsByte()),
        ["cvtpd2dq"] = ((c, a, b) => c.cvtpd2dq(a, b), (a, b) => Sse2.ConvertToVector128Int32(b.AsDouble()).AsByte()),
        ["cvttpd2dq"] = ((c, a, b) => c.cvttpd2dq(a, b), (a, b) => Sse2.ConvertToVector128Int32WithTruncation(b.AsDouble()).AsByte()),
        ["addsubps"] = ((c, a, b) => c.addsubps(a, b), (a, b) => Sse3.AddSubtract(a.AsSingle(), b.AsSingle()).AsByte()),
        ["addsubpd"] = ((c, a, b) => c.addsubpd(a, b), (a, b) => Sse3.AddSubtract(a.AsDouble(), b.AsDouble()).AsByte()),
        ["haddps"] = ((c, a, b) => c.haddps(a, b), (a, b) => Sse3.HorizontalAdd(a.AsSingle(), b.AsSingle()).AsByte()),
        ["haddpd"] = ((c, a, b) => c.haddpd(a, b), (a, b) => Sse3.HorizontalAdd(a.AsDouble(), b.AsDouble()).AsByte()),
        ["hsubps"] = ((c, a, b) => c.hsubps(a, b), (a, b) => Sse3.HorizontalSubtract(a.AsSingle(), b.AsSingle()).AsByte()),
        ["hsubpd"] = ((c, a, b) => c.hsubpd(a, b), (a, b) => Sse3.HorizontalSubtract(a.AsDouble(), b.AsDouble()).AsByte()),
        ["movshdup"] = ((c, a, b) => c.movshdup(a, b), (a, b) => Sse3.MoveHighAndDuplicate(b.AsSingle()).AsByte()),
        ["movsldup"] = ((c, a, b) => c.movsldup(a, b), (a, b) => Sse3.MoveLowAndDuplicate(b.AsSingle()).AsByte()),
        ["movddup"] = ((c, a, b) => c.movddup(a, b), (a, b) => Sse3.MoveAndDuplicate(b.AsDouble()).AsByte()),
        ["pshufb"] = ((c, a, b) => c.pshufb(a, b), (a, b) => Ssse3.Shuffle(a.AsByte(), b.AsByte()).AsByte()),
        ["psignb"] = ((c, a, b) => c.psignb(a, b), (a, b) => Ssse3.Sign(a.AsSByte(), b.AsSByte()).AsByte()),
        ["pabsb"] = ((c, a, b) => c.pabsb(a, b), (a, b) => Ssse3.Abs(b.AsSByte()).AsByte()),
        ["psignw"] = ((c, a, b) => c.psignw(a, b), (a, b) => Ssse3.Sign(a.AsInt16(), b.AsInt16()).AsByte()),
        ["pabsw"] = ((c, a, b) => c.pabsw(a, b), (a, b) => Ssse3.Abs(b.AsInt16()).AsByte()),
        ["psignd"] = ((c, a, b) => c.psignd(a, b), (a, b) => Ssse3.Sign(a.AsInt32(), b.AsInt32()).AsByte()),
        ["pabsd"] = ((c, a, b) => c.pabsd(a, b), (a, b) => Ssse3.Abs(b.AsInt32()).AsByte()),
        ["phaddw"] = ((c, a, b) => c.phaddw(a, b), (a, b) => Ssse3.HorizontalAdd(a.AsInt16(), b.AsInt16()).AsByte()),
        ["phaddd"] = ((c, a, b) => c.phaddd(a, b), (a, b) => Ssse3.HorizontalAdd(a.AsInt32(), b.AsInt32()).AsByte()),
        ["phaddsw"] = ((c, a, b) => c.phaddsw(a, b), (a, b) => Ssse3.HorizontalAddSaturate(a.AsInt16(), b.AsInt16()).AsByte()),
        ["phsubw"] = ((c, a, b) => c.phsubw(a, b), (a, b) => Ssse3.HorizontalSubtract(a.AsInt16(), b.AsInt16()).AsByte()),
        ["phsubd"] = ((c, a, b) => c.phsubd(a, b), (a, b) => Ssse3.HorizontalSubtract(a.AsInt32(), b.AsInt32()).AsByte()),
        ["phsubsw"] = ((c, a, b) => c.phsubsw(a, b), (a, b) => Ssse3.HorizontalSubtractSaturate(a.AsInt16(), b.AsInt16()).AsByte()),
        ["pmulhrsw"] = ((c, a, b) => c.pmulhrsw(a, b), (a, b) => Ssse3.MultiplyHighRoundScale(a.AsInt16(), b.AsInt16()).AsByte()),
        ["pmaddubsw"] = ((c, a, b) => c.pmaddubsw(a, b), (a, b) => Ssse3.MultiplyAddAdjacent(a, b.AsSByte()).AsByte()),
        ["pmulld"] = ((c, a, b) => c.pmulld(a, b), (a, b) => Sse41.MultiplyLow(a.AsInt32(), b.AsInt32()).AsByte()),
        ["pmuldq"] = ((c, a, b) => c.pmuldq(a, b), (a, b) => Sse41.Multiply(a.AsInt32(), b.AsInt32()).AsByte()),
        ["packusdw"] = ((c, a, b) => c.packusdw(a, b), (a, b) => Sse41.PackUnsignedSaturate(a.AsInt32(), b.AsInt32()).AsByte()),
        ["pminsb"] = ((c, a, b) => c.pminsb(a, b), (a, b) => Sse41.Min(a.AsSByte(), b.AsSByte()).AsByte()),
        ["pminsd"] = ((c, a, b) => c.pminsd(a, b), (a, b) => Sse41.Min(a.AsInt32(), b.AsInt32()).AsByte()),
        ["pminuw"] = ((c, a, b) => c.pminuw(a, b), (a, b) => Sse41.Min(a.AsUInt16(), b.AsUInt16()).AsByte()),
        ["pminud"] = ((c, a, b) => c.pminud(a, b), (a, b) => Sse41.Min(a.AsUInt32(), b.AsUInt32()).AsByte()),
        ["pmaxsb"] = ((c, a, b) => c.pmaxsb(a, b), (a, b) => Sse41.Max(a.AsSByte(), b.AsSByte()).AsByte()),
        ["pmaxsd"] = ((c, a, b) => c.pmaxsd(a, b), (a, b) => Sse41.Max(a.AsInt32(), b.AsInt32()).AsByte()),
        ["pmaxuw"] = ((c, a, b) => c.pmaxuw(a, b), (a, b) => Sse41.Max(a.AsUInt16(), b.AsUInt16()).AsByte()),
        ["pmaxud"] = ((c, a, b) => c.pmaxud(a, b), (a, b) => Sse41.Max(a.AsUInt32(), b.AsUInt32()).AsByte()),
        ["pcmpeqq"] = ((c, a, b) => c.pcmpeqq(a, b), (a, b) => Sse41.CompareEqual(a.AsInt64(), b.AsInt64()).AsByte()),
        ["phminposuw"] = ((c, a, b) => c.phminposuw(a, b), (a, b) => Sse41.MinHorizontal(b.AsUInt16()).AsByte()),
        ["pmovsxbw"] = ((c, a, b) => c.pmovsxbw(a, b), (a, b) => Sse41.ConvertToVector128Int16(b.AsSByte()).AsByte()),
        ["pmovsxbd"] = ((c, a, b) => c.pmovsxbd(a, b), (a, b) => Sse41.ConvertToVector128Int32(b.AsSByte()).AsByte()),
        ["pmovsxbq"] = ((c, a, b) => c.pmovsxbq(a, b), (a, b) => Sse41.ConvertToVector128Int64(b.AsSByte()).AsByte()),
        ["pmovsxwd"] = ((c, a, b) => c.pmovsxwd(a, b), (a, b) => Sse41.ConvertToVector128Int32(b.AsInt16()).AsByte()),
        ["pmovsxwq"] = ((c, a, b) => c.pmovsxwq(a, b), (a, b) => Sse41.ConvertToVector128Int64(b.AsInt16()).AsByte()),
        ["pmovsxdq"] = ((c, a, b) => c.pmovsxdq(a, b), (a, b) => Sse41.ConvertToVector128Int64(b.AsInt32()).AsByte()),
        ["pmovzxbw"] = ((c, a, b) => c.pmovzxbw(a, b), (a, b) => Sse41.ConvertToVector128Int16(b.AsByte()).AsByte()),
        ["pmovzxbd"] = ((c, a, b) => c.pmovzxbd(a, b), (a, b) => Sse41.ConvertToVector128Int32(b.AsByte()).AsByte()),
        ["pmovzxbq"] = ((c, a, b) => c.pmovzxbq(a, b), (a, b) => Sse41.ConvertToVector128Int64(b.AsByte()).AsByte()),
        ["pmovzxwd"] = ((c, a, b) => c.pmovzxwd(a, b), (a, b) => Sse41.ConvertToVector128Int32(b.AsUInt16()).AsByte()),
        ["pmovzxwq"] = ((c, a, b) => c.pmovzxwq(a, b), (a, b) => Sse41.ConvertToVector128Int64(b.AsUInt16()).AsByte()),
        ["pmovzxdq"] = ((c, a, b) => c.pmovzxdq(a, b), (a, b) => Sse41.ConvertToVector128Int64(b.AsUInt32()).AsByte()),
        ["pcmpgtq"] = ((c, a, b) => c.pcmpgtq(a, b), (a, b) => Sse42.CompareGreaterThan(a.AsInt64(), b.AsInt64()).AsByte()),
        ["shufps 27"] = ((c, a, b) => c.shufps(a, b, 27), (a, b) => Sse.Shuffle(a.AsSingle(), b.AsSingle(), 27).AsByte()),
        ["pshufd 27"] = ((c, a, b) => c.pshufd(a, b, 27), (a, b) => Sse2.Shuffle(b.AsInt32(), 27).AsByte()),
        ["pshuflw 27"] = ((c, a, b) => c.pshuflw(a, b, 27), (a, b) => Sse2.ShuffleLow(b.AsInt16(), 27).AsByte()),
        ["pshufhw 27"] = ((c, a, b) => c.pshufhw(a, b, 27), (a, b) => Sse2.ShuffleHigh(b.AsInt16(), 27).AsByte()),
        ["shufps 225"] = ((c, a, b) => c.shufps(a, b, 225), (a, b) => Sse.Shuffle(a.AsSingle(), b.AsSingle(), 225).AsByte()),
        ["pshufd 225"] = ((c, a, b) => c.pshufd(a, b, 225), (a, b) => Sse2.Shuffle(b.AsInt32(), 225).AsByte()),
        ["pshuflw 225"] = ((c, a, b) => c.pshuflw(a, b, 225), (a, b) => Sse2.ShuffleLow(b.AsInt16(), 225).AsByte()),
        ["pshufhw 225"] = ((c, a, b) => c.pshufhw(a, b, 225), (a, b) => Sse2.ShuffleHigh(b.AsInt16(), 225).AsByte()),
        ["shufpd 1"] = ((c, a, b) => c.shufpd(a, b, 1), (a, b) => Sse2.Shuffle(a.AsDouble(), b.AsDouble(), 1).AsByte()),
        ["palignr 5"] = ((c, a, b) => c.palignr(a, b, 5), (a, b) => Ssse3.AlignRight(a.AsByte(), b.AsByte(), 5).AsByte()),
        ["palignr 21"] = ((c, a, b) => c.palignr(a, b, 21), (a, b) => Ssse3.AlignRight(a.AsByte(), b.AsByte(), 21).AsByte()),
        ["blendps 5"] = ((c, a, b) => c.blendps(a, b, 5), (a, b) => Sse41.Blend(a.AsSingle(), b.AsSingle(), 5).AsByte()),
        ["blendpd 2"] = ((c, a, b) => c.blendpd(a, b, 2), (a, b) => Sse41.Blend(a.AsDouble(), b.AsDouble(), 2).AsByte()),
        ["pblendw 89"] = ((c, a, b) => c.pblendw(a, b, 89), (a, b) => Sse41.Blend(a.AsInt16(), b.AsInt16(), 89).AsByte()),
        ["dpps 245"] = ((c, a, b) => c.dpps(a, b, 245), (a, b) => Sse41.DotProduct(a.AsSingle(), b.AsSingle(), 245).AsByte()),
        ["dppd 49"] = ((c, a, b) => c.dppd(a, b, 49), (a, b) => Sse41.DotProduct(a.AsDouble(), b.AsDouble(), 49).AsByte()),
        ["insertps 90"] = ((c, a, b) => c.insertps(a, b, 90), (a, b) => Sse41.Insert(a.AsSingle(), b.AsSingle(), 90).AsByte()),
        ["mpsadbw 5"] = ((c, a, b) => c.mpsadbw(a, b, 5), (a, b) => Sse41.MultipleSumAbsoluteDifferences(a.AsByte(), b.AsByte(), 5).AsByte()),
        ["cmpps 0"] = ((c, a, b) => c.cmpps(a, b, 0), (a, b) => Sse.CompareEqual(a.AsSingle(), b.AsSingle()).AsByte()),
        ["cmppd 0"] = ((c, a, b) => c.cmppd(a, b, 0), (a, b) => Sse2.CompareEqual(a.AsDouble(), b.AsDouble()).AsByte()),
        ["cmpps 1"] = ((c, a, b) => c.cmpps(a, b, 1), (a, b) => Sse.CompareLessThan(a.AsSingle(), b.AsSingle()).AsByte()),
        ["cmppd 1"] = ((c, a, b) => c.cmppd(a, b, 1), (a, b) => Sse2.CompareLessThan(a.AsDouble(), b.AsDouble()).AsByte()),
        ["cmpps 2"] = ((c, a, b) => c.cmpps(a, b, 2), (a, b) => Sse.CompareLessThanOrEqual(a.AsSingle(), b.AsSingle()).AsByte()),
        ["cmppd 2"] = ((c, a, b) => c.cmppd(a, b, 2), (a, b) => Sse2.CompareLessThanOrEqual(a.AsDouble(), b.AsDouble()).AsByte()),
        ["cmpps 3"] = ((c, a, b) => c.cmpps(a, b, 3), (a, b) => Sse.CompareUnordered(a.AsSingle(), b.AsSingle()).AsByte()),
        ["cmppd 3"] = ((c, a, b) => c.cmppd(a, b, 3), (a, b) => Sse2.CompareUnordered(a.AsDouble(), b.AsDouble()).AsByte()),
        ["cmpps 4"] = ((c, a, b) => c.cmpps(a, b, 4), (a, b) => Sse.CompareNotEqual(a.AsSingle(), b.AsSingle()).AsByte()),
        ["cmppd 4"] = ((c, a, b) => c.cmppd(a, b, 4), (a, b) => Sse2.CompareNotEqual(a.AsDouble(), b.AsDouble()).AsByte()),
        ["cmpps 5"] = ((c, a, b) => c.cmpps(a, b, 5), (a, b) => Sse.CompareNotLessThan(a.AsSingle(), b.AsSingle()).AsByte()),
        ["cmppd 5"] = ((c, a, b) => c.cmppd(a, b, 5), (a, b) => Sse2.CompareNotLessThan(a.AsDouble(), b.AsDouble()).AsByte()),
        ["cmpps 6"] = ((c, a, b) => c.cmpps(a, b, 6), (a, b) => Sse.CompareNotLessThanOrEqual(a.AsSingle(), b.AsSingle()).AsByte()),
        ["cmppd 6"] = ((c, a, b) => c.cmppd(a, b, 6), (a, b) => Sse2.CompareNotLessThanOrEqual(a.AsDouble(), b.AsDouble()).AsByte()),
        ["cmpps 7"] = ((c, a, b) => c.cmpps(a, b, 7), (a, b) => Sse.CompareOrdered(a.AsSingle(), b.AsSingle()).AsByte()),
        ["cmppd 7"] = ((c, a, b) => c.cmppd(a, b, 7), (a, b) => Sse2.CompareOrdered(a.AsDouble(), b.AsDouble()).AsByte()),
        ["roundps 8"] = ((c, a, b) => c.roundps(a, b, 8), (a, b) => Sse41.RoundToNearestInteger(b.AsSingle()).AsByte()),
        ["roundpd 8"] = ((c, a, b) => c.roundpd(a, b, 8), (a, b) => Sse41.RoundToNearestInteger(b.AsDouble()).AsByte()),
        ["roundps 9"] = ((c, a, b) => c.roundps(a, b, 9), (a, b) => Sse41.RoundToNegativeInfinity(b.AsSingle()).AsByte()),
        ["roundpd 9"] = ((c, a, b) => c.roundpd(a, b, 9), (a, b) => Sse41.RoundToNegativeInfinity(b.AsDouble()).AsByte()),
        ["roundps 10"] = ((c, a, b) => c.roundps(a, b, 10), (a, b) => Sse41.RoundToPositiveInfinity(b.AsSingle()).AsByte()),
        ["roundpd 10"] = ((c, a, b) => c.roundpd(a, b, 10), (a, b) => Sse41.RoundToPositiveInfinity(b.AsDouble()).AsByte()),
        ["roundps 11"] = ((c, a, b) => c.roundps(a, b, 11), (a, b) => Sse41.RoundToZero(b.AsSingle()).AsByte()),
        ["roundpd 11"] = ((c, a, b) => c.roundpd(a, b, 11), (a, b) => Sse41.RoundToZero(b.AsDouble()).AsByte()),
    };

    private delegate void Encode(Assembler c, AssemblerRegisterXMM a, AssemblerRegisterXMM b);

    private delegate Vector128<byte> Compute(Vector128<byte> a, Vector128<byte> b);

    public static TheoryData<string> Names => [.. Operations.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void Results_are_the_hosts(string name)
    {
        var (encode, compute) = Operations[name];
        using var machine = new VectorMachine();
        foreach (var (a, b) in Pairs())
        {
            machine.SetXmm(3, a);
            machine.SetXmm(12, b);
            machine.SetXmm(5, b);
            machine.State->Ymm[(3 * 4) + 2] = 0x1234;
            Assert.Equal(VectorMachine.NoFault, machine.Run(c => encode(c, xmm3, xmm12)));
            Assert.Equal(compute(a, b), machine.Xmm(3));
            Assert.Equal(b, machine.Xmm(12));
            Assert.Equal(0x1234UL, machine.State->Ymm[(3 * 4) + 2]);
        }

        machine.SetXmm(3, Vector128.Create((byte)7));
        Assert.Equal(VectorMachine.NoFault, machine.Run(c => encode(c, xmm3, xmm3)));
        Assert.Equal(compute(Vector128.Create((byte)7), Vector128.Create((byte)7)), machine.Xmm(3));
    }

    private static IEnumerable<(Vector128<byte> A, Vector128<byte> B)> Pairs()
    {
        var random = new Random(1);
        var bytes = new byte[32];
        for (var n = 0; n < RandomPairs; n++)
        {
            random.NextBytes(bytes);
            yield return (Vector128.Create(bytes, 0), Vector128.Create(bytes, 16));

            // Shift counts and shuffles in range.
            yield return (Vector128.Create(bytes, 0), Vector128.CreateScalar((ulong)n * 3).AsByte());
        }

        for (var n = 0; n < 20; n++)
        {
            yield return (RandomOf(random, Singles), RandomOf(random, Singles));
            yield return (RandomOf(random, Doubles), RandomOf(random, Doubles));
        }
    }

    private static Vector128<byte> RandomOf<T>(Random random, T[] values)
    {
        var picked = new T[Vector128<T>.Count];
        for (var n = 0; n < picked.Length; n++)
        {
            picked[n] = values[random.Next(values.Length)];
        }

        return picked is uint[] singles ? Vector128.Create(singles).AsByte() : Vector128.Create((ulong[])(object)picked).AsByte();
    }
}
