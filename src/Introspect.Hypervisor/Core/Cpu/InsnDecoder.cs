using Iced.Intel;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Turns guest code into blocks: Iced decodes, the binder chooses handlers.</summary>
internal sealed unsafe class InsnDecoder
{
    public const int MaxInsnBytes = 15;

    /// <summary>Bytes of the forced emulation prefix.</summary>
    public const int PrefixBytes = 5;

    /// <summary>Part of the mode that changes decoding.</summary>
    public const CpuMode KeyMask = CpuMode.SizeMask | CpuMode.FlatData | CpuMode.RealOrVm86;

    /// <summary>Instructions in a block at most.</summary>
    public const int MaxInstructions = 48;

    private readonly PointerReader _reader = new();
    private readonly Decoder[] _decoders = new Decoder[3];

    public InsnDecoder(CpuVendor vendor)
    {
        var options = vendor == CpuVendor.Svm ? DecoderOptions.AMD : DecoderOptions.None;
        for (var n = 0; n < 3; n++)
        {
            _decoders[n] = Decoder.Create(16 << n, _reader, 0, options);
        }
    }

    /// <summary>See <see cref="Cpu.ForcedEmulationPrefix"/>.</summary>
    public bool ForcedEmulationPrefix { get; set; }

    /// <summary>Decodes from a machine address to the end of the block. Null when the first instruction leaves the page.</summary>
    public Block* DecodeBlock(CpuState* s, CodeCache cache, ulong machine, CpuMode mode)
    {
        var host = s->MachineBase + machine;
        var available = 4096 - (int)(machine & 0xFFF);
        var block = cache.Reserve(MaxInstructions + 1);
        block->Address = machine;
        block->Mode = mode;
        var offset = 0;
        var count = 0;
        var ends = false;
        while (!ends && count < MaxInstructions && offset < available)
        {
            var insn = block->First + count;
            if (!Decode(host + offset, available - offset, (uint)offset, mode, insn, (int)(machine & 0xFFF) + offset, out ends))
            {
                break; // the instruction goes on in the next page
            }

            insn->Ordinal = (ushort)count;
            offset = insn->Offset + insn->Length;
            count++;
        }

        if (count == 0)
        {
            return null;
        }

        EndMarker(block, count, offset, &ControlHandlers.EndOfBlock);
        cache.Add(s, block, count + 1);
        return block;
    }

    /// <summary>Decodes one instruction into a block of its own. False when the bytes are no whole instruction.</summary>
    public bool DecodeOne(CpuState* s, Block* block, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* p = bytes)
        {
            // The instruction may be anywhere in its page, so no branch of it is linked: place it at a page's end.
            if (!Decode(p, bytes.Length, 0, s->Mode & KeyMask, block->First, -1, out _))
            {
                return Fault.GeneralProtection(s, 0); // longer than 15 bytes
            }
        }

        block->First->Ordinal = 0;
        EndMarker(block, 1, block->First->Offset + block->First->Length, &ControlHandlers.EndOfStep);
        return true;
    }

    /// <summary>True when the bytes end before the instruction does.</summary>
    public bool NeedsMore(CpuState* s, ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length >= MaxInsnBytes + PrefixBytes)
        {
            return false;
        }

        Insn scratch;
        fixed (byte* p = bytes)
        {
            return !Decode(p, bytes.Length, 0, s->Mode & KeyMask, &scratch, -1, out _);
        }
    }

    private bool Decode(byte* bytes, int available, uint offset, CpuMode mode, Insn* insn, int pageOffset, out bool ends)
    {
        var prefix = 0;
        ends = true;
        if (ForcedEmulationPrefix && available >= 2 && bytes[0] == 0x0F && bytes[1] == 0x0B)
        {
            if (available < PrefixBytes)
            {
                // Only the whole prefix tells it from a plain UD2.
                if (available > 2 && bytes[2] != (byte)'x')
                {
                    prefix = 0;
                }
                else if (pageOffset >= 0)
                {
                    return false;
                }
            }
            else if (bytes[2] == (byte)'x' && bytes[3] == (byte)'e' && bytes[4] == (byte)'n')
            {
                prefix = PrefixBytes;
            }
        }

        _reader.Set(bytes + prefix, Math.Min(available - prefix, MaxInsnBytes));
        var decoder = _decoders[(int)(mode & CpuMode.SizeMask)];
        decoder.IP = offset + (uint)prefix;
        decoder.Decode(out var instruction);
        if (decoder.LastError == DecoderError.NoMoreBytes)
        {
            if (available - prefix < MaxInsnBytes)
            {
                return false;
            }

            *insn = default;
            insn->Offset = (ushort)(offset + prefix);
            insn->Length = (byte)MaxInsnBytes;
            Binder.BindTooLong(insn);
            return true;
        }

        // As on Xen the prefix is behind the vCPU when its instruction begins: faults and exits are at the instruction.
        *insn = default;
        insn->Offset = (ushort)(offset + prefix);
        insn->Length = (byte)instruction.Length;
        ends = Binder.Bind(in instruction, insn, mode, pageOffset - (int)offset);
        return true;
    }

    private static void EndMarker(Block* block, int count, int offset, delegate*<CpuState*, Insn*, void> handler)
    {
        block->Count = count;
        block->ByteLength = (ushort)offset;
        block->First[count] = new Insn { Handler = handler, Offset = (ushort)offset, Ordinal = (ushort)count };
    }

    /// <summary>Feeds Iced from native memory.</summary>
    private sealed class PointerReader : CodeReader
    {
        private byte* _next;
        private byte* _end;

        public void Set(byte* bytes, int length)
        {
            _next = bytes;
            _end = bytes + length;
        }

        public override int ReadByte() => _next < _end ? *_next++ : -1;
    }
}
