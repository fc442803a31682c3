using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.XenLab.Guest;

/// <summary>What the trace guest does with exceptions: each is counted, and the round goes on.</summary>
internal sealed class TraceHandlers
{
    private const int Debug = 1;
    private const int Breakpoint = 3;
    private const int InvalidOpcode = 6;
    private const int GeneralProtection = 13;

    private const byte DebugConsolePort = 0xe9;
    private const uint TrapFlag = 0x100;
    private const uint ResumeFlag = 0x1_0000;

    private readonly Assembler _c;
    private Label _crash;
    private readonly Label[] _labels = new Label[TraceLayout.IdtEntries];

    public TraceHandlers(Assembler assembler)
    {
        _c = assembler;
        _crash = assembler.CreateLabel("crash");
        for (var vector = 0; vector < _labels.Length; vector++)
        {
            _labels[vector] = assembler.CreateLabel();
        }
    }

    /// <summary>The handler of a vector.</summary>
    public Label Of(int vector) => _labels[vector];

    public void Emit()
    {
        for (var vector = 0; vector < TraceLayout.IdtEntries; vector++)
        {
            _c.Label(ref _labels[vector]);
            _c.inc(__qword_ptr[TraceLayout.Exceptions + ((ulong)vector * 8)]);
            switch (vector)
            {
                case Debug:
                    EmitDebug();
                    break;
                case Breakpoint:
                    _c.iretq();
                    break;
                case InvalidOpcode:
                    EmitResume(hasErrorCode: false);
                    break;
                case GeneralProtection:
                    EmitResume(hasErrorCode: true);
                    break;
                case TraceLayout.UserEndVector:
                    // Ring 3 is done: back to where the kernel went there from, on its stack.
                    _c.mov(eax, TraceLayout.KernelData);
                    _c.mov(ss, eax);
                    _c.mov(rsp, __qword_ptr[TraceLayout.Scratch]);
                    _c.ret();
                    break;
                default:
                    _c.mov(ebx, (uint)vector);
                    _c.jmp(_crash);
                    break;
            }
        }

        EmitCrash();
    }

    // Goes on with the instruction that it was called before, once; after the last step without TF.
    private void EmitDebug()
    {
        var keep = _c.CreateLabel();
        _c.push(rax);
        _c.xor(eax, eax);
        _c.mov(dr6, rax);
        _c.or(__dword_ptr[rsp + 24], ResumeFlag);
        _c.dec(__qword_ptr[TraceLayout.StepsLeft]);
        _c.jg(keep);
        _c.and(__dword_ptr[rsp + 24], ~TrapFlag);
        _c.Label(ref keep);
        _c.pop(rax);
        _c.iretq();
    }

    private void EmitResume(bool hasErrorCode)
    {
        var crash = _c.CreateLabel();
        if (hasErrorCode)
        {
            _c.add(rsp, 8);
        }

        _c.push(rax);
        _c.mov(rax, __qword_ptr[TraceLayout.ResumeAt]);
        _c.test(rax, rax);
        _c.je(crash);
        _c.mov(__qword_ptr[rsp + 8], rax);
        _c.xor(eax, eax);
        _c.mov(__qword_ptr[TraceLayout.ResumeAt], rax);
        _c.pop(rax);
        _c.iretq();
        _c.Label(ref crash);
        _c.pop(rax);
        _c.mov(ebx, (uint)(hasErrorCode ? GeneralProtection : InvalidOpcode));
        _c.jmp(_crash);
    }

    // An exception that is none of the acts: says its vector (EBX) and the top of its frame, and ends as a crash.
    private void EmitCrash()
    {
        _c.Label(ref _crash);
        _c.mov(r12, __qword_ptr[rsp]);
        _c.mov(r13, __qword_ptr[rsp + 8]);
        EmitHexDigits(ebx, TraceData.CrashVectorAt, 2);
        EmitHexDigits(r12d, TraceData.CrashFirstAt, 8);
        EmitHexDigits(r13d, TraceData.CrashSecondAt, 8);

        // Xen's own debug port: its console is closed to guests in a release build.
        _c.mov(ecx, (uint)TraceData.CrashText.Length);
        _c.mov(esi, (uint)TraceLayout.CrashText);
        var next = _c.CreateLabel();
        _c.Label(ref next);
        _c.lodsb();
        _c.@out(DebugConsolePort, al);
        _c.dec(ecx);
        _c.jne(next);
        _c.mov(esi, (uint)TraceLayout.CrashArgument);
        TraceActs.EmitShutdown(_c);
    }

    private void EmitHexDigits(AssemblerRegister32 value, ulong last, int digits)
    {
        for (var i = 0UL; i < (ulong)digits; i++)
        {
            _c.mov(eax, value);
            _c.and(eax, 15);
            _c.mov(al, __byte_ptr[rax + (long)TraceLayout.HexDigits]);
            _c.mov(__byte_ptr[last - i], al);
            _c.shr(value, 4);
        }
    }
}
