using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Tests.Abi;

public unsafe class VmEventCodecTests
{
    public static TheoryData<uint> Versions => [1, 2, 3, 4, 5, 6, 7];

    [Theory]
    [InlineData(1, 312)]
    [InlineData(2, 312)]
    [InlineData(3, 312)]
    [InlineData(4, 376)]
    [InlineData(5, 384)]
    [InlineData(6, 384)]
    [InlineData(7, 400)]
    public void An_event_has_the_size_of_its_version(uint version, int size) => Assert.Equal(size, VmEventCodec.For(version).SizeInBytes);

    // Absolute offsets by the published headers of 4.7, 4.10, 4.11, 4.12, 4.13, 4.14 and 4.15.
    [Theory]
    [InlineData(1, "Rax 56 R15 176 Rflags 184 Dr7 192 Rip 200 Cr0 208 Cr4 232 SysenterEip 256 MsrEfer 264 MsrLstar 280 FsBase 288 GsBase 296")]
    [InlineData(2, "Rax 56 R15 176 Rflags 184 Dr7 192 Rip 200 Cr0 208 Cr4 232 SysenterEip 256 MsrEfer 264 MsrLstar 280 FsBase 288 GsBase 296")]
    [InlineData(3, "Rax 56 R15 176 Rflags 184 Dr7 192 Rip 200 Cr0 208 Cr4 232 SysenterEip 256 MsrEfer 264 MsrLstar 280 FsBase 288 GsBase 296")]
    [InlineData(4, "Rax 56 Rflags 184 Dr6 192 Dr7 200 Rip 208 Cr0 216 Cr4 240 MsrLstar 288 FsBase 312 GsBase 320 ShadowGs 352")]
    [InlineData(5, "Rax 56 Rflags 184 Dr6 192 Dr7 200 Rip 208 Cr0 216 Cr4 240 MsrLstar 288 GdtrBase 296 FsBase 320 GsBase 328 ShadowGs 360")]
    [InlineData(6, "Rax 56 Rflags 184 Dr6 192 Dr7 200 Rip 208 Cr0 216 Cr4 240 MsrLstar 288 GdtrBase 296 FsBase 320 GsBase 328 ShadowGs 360")]
    [InlineData(7, "Rax 56 Rflags 184 Dr6 192 Dr7 200 Rip 208 Cr0 216 MsrLstar 288 GdtrBase 296 NptBase 304 VmtracePos 312 FsBase 336 GsBase 344 ShadowGs 376")]
    public void Registers_are_read_from_where_the_version_has_them(uint version, string places)
    {
        var codec = VmEventCodec.For(version);
        var words = places.Split(' ');
        for (var i = 0; i < words.Length; i += 2)
        {
            var raw = new byte[codec.SizeInBytes];
            BinaryPrimitives.WriteUInt32LittleEndian(raw, version);
            BinaryPrimitives.WriteUInt64LittleEndian(raw.AsSpan(int.Parse(words[i + 1], CultureInfo.InvariantCulture)), 0x1122334455667788);
            Assert.True(codec.TryDecode(raw, out var request));
            Assert.Equal(0x1122334455667788UL, Register(request, words[i]));
        }
    }

    [Theory]
    [InlineData(4, 296, 328, 372)]
    [InlineData(5, 304, 336, 382)]
    [InlineData(6, 304, 336, 382)]
    [InlineData(7, 320, 352, 398)]
    public void Segments_are_read_from_where_the_version_has_them(uint version, int csBase, int cs, int selectorsEnd)
    {
        var codec = VmEventCodec.For(version);
        var raw = new byte[codec.SizeInBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(raw, version);
        for (var i = 0; i < 4; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(csBase + (i * 4)), 0x1000u * (uint)(i + 1));
        }

        for (var i = 0; i < 6; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(cs + (i * 4)), 0xa9b00000u + (uint)i);
            BinaryPrimitives.WriteUInt16LittleEndian(raw.AsSpan(selectorsEnd - 12 + (i * 2)), (ushort)(8 * (i + 1)));
        }

        Assert.True(codec.TryDecode(raw, out var request));
        var registers = request.Registers;
        Assert.Equal((0x1000u, 0x2000u, 0x3000u, 0x4000u), (registers.CsBase, registers.SsBase, registers.DsBase, registers.EsBase));
        Assert.Equal((0xa9bu, 0u), (registers.Cs.AccessRights, registers.Cs.Limit));
        Assert.Equal(
            [0u, 1u, 2u, 3u, 4u, 5u],
            new[] { registers.Cs, registers.Ss, registers.Ds, registers.Es, registers.Fs, registers.Gs }.Select(static segment => segment.Limit));
        Assert.Equal(
            [8, 16, 24, 32, 40, 48],
            new[] { registers.CsSel, registers.SsSel, registers.DsSel, registers.EsSel, registers.FsSel, registers.GsSel });
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Early_versions_have_the_rights_of_CS_alone(uint version)
    {
        var codec = VmEventCodec.For(version);
        var raw = new byte[codec.SizeInBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(raw, version);
        BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(304), 0xa9b);
        Assert.True(codec.TryDecode(raw, out var request));
        Assert.Equal(0xa9bu, request.Registers.Cs.AccessRights);
        Assert.Equal(0u, request.Registers.Ss.Word);
    }

    [Theory]
    [InlineData(1, 0u, 0, 0UL)]
    [InlineData(2, 3u, 6, 0UL)]
    [InlineData(5, 3u, 6, 0UL)]
    [InlineData(6, 2u, 5, 0x0000_0006_0000_0003UL)]
    [InlineData(7, 2u, 5, 0x0000_0006_0000_0003UL)]
    public void A_breakpoint_keeps_its_length_and_type(uint version, uint length, byte type, ulong pending)
    {
        var codec = VmEventCodec.For(version);
        var raw = Raw(codec, VmEventReason.SoftwareBreakpoint);
        BinaryPrimitives.WriteUInt64LittleEndian(raw.AsSpan(24), 0x1234);
        BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(32), 3);
        raw[36] = 6;
        BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(40), 2);
        raw[44] = 5;
        Assert.True(codec.TryDecode(raw, out var request));
        Assert.Equal((0x1234UL, length, type, pending), (request.Debug.Gfn, request.Debug.InsnLength, request.Debug.Type, request.Debug.PendingDbg));
    }

    [Theory]
    [MemberData(nameof(Versions))]
    public void The_old_value_of_an_MSR_came_with_version_3(uint version)
    {
        var codec = VmEventCodec.For(version);
        var raw = Raw(codec, VmEventReason.MovToMsr);
        raw.AsSpan(24, 24).Fill(0x11);
        Assert.True(codec.TryDecode(raw, out var request));
        Assert.Equal(0x1111111111111111UL, request.MovToMsr.NewValue);
        Assert.Equal(version >= 3 ? 0x1111111111111111UL : 0, request.MovToMsr.OldValue);
    }

    [Theory]
    [MemberData(nameof(Versions))]
    public void What_is_decoded_and_encoded_again_is_the_same(uint version)
    {
        var codec = VmEventCodec.For(version);
        var random = new Random(4711);
        foreach (var reason in Enum.GetValues<VmEventReason>())
        {
            var raw = new byte[codec.SizeInBytes];
            random.NextBytes(raw);
            WriteHeader(raw, version, reason);
            Assert.True(codec.TryDecode(raw, out var request));
            Assert.Equal(VmEvent.InterfaceVersion, request.Version);
            var again = new byte[codec.SizeInBytes];
            codec.Encode(request, again);
            ClearPadding(version, reason, raw);
            Assert.Equal(Convert.ToHexString(raw), Convert.ToHexString(again));
        }
    }

    [Theory]
    [MemberData(nameof(Versions))]
    public void Emulation_data_goes_back_instead_of_registers(uint version)
    {
        var codec = VmEventCodec.For(version);
        var response = new VmEvent { Reason = VmEventReason.MemAccess, Flags = VmEventFlags.Emulate | VmEventFlags.SetEmulReadData, EmulReadSize = VmEvent.MaxEmulReadBytes };
        MemoryMarshal.AsBytes(new Span<VmEvent>(ref response))[60..].Fill(0xab);
        var raw = new byte[codec.SizeInBytes];
        codec.Encode(response, raw);
        Assert.Equal((uint)(codec.SizeInBytes - 60), BinaryPrimitives.ReadUInt32LittleEndian(raw.AsSpan(56)));
        Assert.All(raw[60..], static b => Assert.Equal(0xab, b));
    }

    [Theory]
    [MemberData(nameof(Versions))]
    public void Bytes_of_another_version_are_refused(uint version)
    {
        var codec = VmEventCodec.For(version);
        var raw = Raw(codec, VmEventReason.Cpuid);
        raw[0] ^= 8;
        Assert.False(codec.TryDecode(raw, out _));
        Assert.False(codec.TryDecode(raw.AsSpan(1), out _));
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(8u)]
    public void An_unknown_version_is_told(uint version) =>
        Assert.Equal(Errno.EOPNOTSUPP, Assert.Throws<HypervisorException>(() => VmEventCodec.For(version)).Error);

    private static byte[] Raw(VmEventCodec codec, VmEventReason reason)
    {
        var raw = new byte[codec.SizeInBytes];
        WriteHeader(raw, codec.Version, reason);
        return raw;
    }

    private static void WriteHeader(byte[] raw, uint version, VmEventReason reason)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(raw, version);
        BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(4), 0x1801);
        BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(8), (uint)reason);
    }

    // What the layout of a version does not use need not come back.
    private static void ClearPadding(uint version, VmEventReason reason, byte[] raw)
    {
        if (version == 7)
        {
            return;
        }

        if (reason is VmEventReason.SoftwareBreakpoint or VmEventReason.DebugException && version < 6)
        {
            raw.AsSpan(version == 1 ? 32 : 37, version == 1 ? 24 : 19).Clear();
        }

        if (reason == VmEventReason.MovToMsr && version < 3)
        {
            raw.AsSpan(40, 16).Clear();
        }

        switch (version)
        {
            case <= 3:
                BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(304), BinaryPrimitives.ReadUInt32LittleEndian(raw.AsSpan(304)) & 0xfff);
                raw.AsSpan(308).Clear();
                break;
            case 4:
                raw.AsSpan(372).Clear();
                break;
            default:
                raw.AsSpan(382).Clear();
                break;
        }
    }

    private static ulong Register(VmEvent request, string name) =>
        (ulong)typeof(VmEventRegisters).GetField(name)!.GetValue(request.Registers)!;
}
