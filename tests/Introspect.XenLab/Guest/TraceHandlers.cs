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

    private const uint TrapFlag = 0x100;
    private const uint ResumeFlag = 0x1_0000;

    private readonly Assembler _c;
    private readonly Label[] _labels = new Label[TraceLayout.IdtEntries];

    public TraceHandlers(Assembler assembler)
    {
        _c = assembler;
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
                    EmitCrash();
                    break;
            }
        }
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
        EmitCrash();
    }

    private void EmitCrash()
    {
        _c.mov(esi, (uint)TraceLayout.CrashArgument);
        TraceActs.EmitShutdown(_c);
    }
}
