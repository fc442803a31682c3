using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Benchmarks.Interpreter;

/// <summary>
/// Loops without end for the interpreter, long mode, ring 0. Each is of one kind, so that a figure that moves
/// tells where to look.
/// </summary>
internal static class Kernels
{
    /// <summary>Where the kernels' data lies: 16 MiB from here are theirs.</summary>
    public const ulong Data = 0x200_0000;

    private const int Multiplier = 0x5DEECE67;

    /// <summary>Register arithmetic and logic of 64 and 32 bits.</summary>
    public static void Arithmetic(Assembler c)
    {
        var again = c.CreateLabel();
        c.mov(rcx, 0x0123456789ABCDEF);
        c.Label(ref again);
        c.add(rax, rcx);
        c.xor(rbx, rax);
        c.lea(rdx, __[rax + (rbx * 4) + 17]);
        c.imul(r8, rdx);
        c.rol(r8, 13);
        c.sub(r9d, eax);
        c.and(r10d, r9d);
        c.shr(rdx, 7);
        c.or(r11, rdx);
        c.adc(r12d, 5);
        c.inc(rcx);
        c.cmp(rcx, rax);
        c.cmovb(r13, r8);
        c.mov(r14, r13);
        c.jmp(again);
    }

    /// <summary>Branches that a predictor cannot learn, three for each step of a generator.</summary>
    public static void Branches(Assembler c)
    {
        var again = c.CreateLabel();
        var second = c.CreateLabel();
        var third = c.CreateLabel();
        c.mov(eax, 12345);
        c.Label(ref again);
        c.imul(eax, eax, Multiplier);
        c.add(eax, 11);
        c.test(eax, 0x10000);
        c.jne(second);
        c.inc(rbx);
        c.Label(ref second);
        c.test(eax, 0x400000);
        c.je(third);
        c.dec(rdx);
        c.Label(ref third);
        c.test(eax, eax);
        c.js(again);
        c.add(rcx, 3);
        c.jmp(again);
    }

    /// <summary>The number of Fibonacci of 20 by recursion, over and over.</summary>
    public static void Calls(Assembler c)
    {
        var again = c.CreateLabel();
        var fib = c.CreateLabel();
        var done = c.CreateLabel();
        c.Label(ref again);
        c.mov(edi, 20);
        c.call(fib);
        c.jmp(again);
        c.Label(ref fib);
        c.mov(eax, edi);
        c.cmp(edi, 2);
        c.jb(done);
        c.push(rbx);
        c.mov(ebx, edi);
        c.dec(edi);
        c.call(fib);
        c.xchg(eax, ebx);
        c.lea(edi, __[rax - 2]);
        c.call(fib);
        c.add(eax, ebx);
        c.pop(rbx);
        c.Label(ref done);
        c.ret();
    }

    /// <summary>Copies 512 KiB, 16 bytes a turn.</summary>
    public static void Copy(Assembler c)
    {
        var again = c.CreateLabel();
        var next = c.CreateLabel();
        c.mov(rsi, Data);
        c.mov(rdi, Data + (1 << 20));
        c.Label(ref again);
        c.xor(ecx, ecx);
        c.Label(ref next);
        c.mov(rax, __qword_ptr[rsi + (rcx * 8)]);
        c.mov(__qword_ptr[rdi + (rcx * 8)], rax);
        c.mov(rdx, __qword_ptr[rsi + (rcx * 8) + 8]);
        c.mov(__qword_ptr[rdi + (rcx * 8) + 8], rdx);
        c.add(rcx, 2);
        c.cmp(rcx, 1 << 16);
        c.jb(next);
        c.jmp(again);
    }

    /// <summary>Adds to places all over a power of two of bytes.</summary>
    public static Action<Assembler> RandomAccess(int bytes) => c =>
    {
        var again = c.CreateLabel();
        c.mov(rsi, Data);
        c.mov(eax, 12345);
        c.Label(ref again);
        c.imul(eax, eax, Multiplier);
        c.add(eax, 11);
        c.mov(ecx, eax);
        c.shr(ecx, 5);
        c.and(ecx, (bytes / 8) - 1);
        c.mov(rdx, __qword_ptr[rsi + (rcx * 8)]);
        c.add(rdx, rax);
        c.mov(__qword_ptr[rsi + (rcx * 8)], rdx);
        c.jmp(again);
    };

    /// <summary>Instructions in a turn of <see cref="AddressSpaceSwitches"/>.</summary>
    public const int SwitchTurn = 10;

    /// <summary>Writes CR3 and touches eight pages, which have to be walked anew.</summary>
    public static void AddressSpaceSwitches(Assembler c)
    {
        var again = c.CreateLabel();
        c.mov(rsi, Data);
        c.mov(rax, cr3);
        c.Label(ref again);
        c.mov(cr3, rax);
        for (var page = 0; page < 8; page++)
        {
            c.add(__qword_ptr[rsi + (page * 4096)], rax);
        }

        c.jmp(again);
    }

    /// <summary>Instructions in <see cref="RunOnce"/>.</summary>
    public const int RunOnceInstructions = 100_000;

    /// <summary>Straight code with a jump now and then, each instruction of which runs once; halts at its end.</summary>
    public static void RunOnce(Assembler c)
    {
        AssemblerRegister64[] wide = [rax, rbx, rcx, rdx, rdi, r8, r9, r10, r11, r12];
        AssemblerRegister32[] narrow = [eax, ebx, ecx, edx, edi, r8d, r9d, r10d, r11d, r12d];
        var random = new Random(1);
        c.mov(rsi, Data);
        for (var n = 2; n < RunOnceInstructions; n++)
        {
            var (a, b) = (random.Next(wide.Length), random.Next(wide.Length));
            switch (random.Next(11))
            {
                case 0: c.mov(narrow[a], random.Next()); break;
                case 1: c.add(wide[a], wide[b]); break;
                case 2: c.xor(narrow[a], narrow[b]); break;
                case 3: c.lea(wide[a], __[wide[b] + (wide[a] * 2) + random.Next(1000)]); break;
                case 4: c.mov(wide[a], __qword_ptr[rsi + (random.Next(500) * 8)]); break;
                case 5: c.mov(__dword_ptr[rsi + (random.Next(500) * 8)], narrow[b]); break;
                case 6: c.cmp(wide[a], random.Next(100)); break;
                case 7: c.shl(narrow[a], (byte)random.Next(1, 31)); break;
                case 8: c.movzx(narrow[a], __byte_ptr[rsi + random.Next(4000)]); break;
                case 9: c.sub(wide[a], random.Next(10_000)); break;
                default:
                    var next = c.CreateLabel();
                    c.jmp(next);
                    c.Label(ref next);
                    break;
            }
        }

        c.hlt();
    }
}
