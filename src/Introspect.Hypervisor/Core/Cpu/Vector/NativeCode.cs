using System.Runtime.InteropServices;
using Iced.Intel;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Core.Cpu.VectorUnit;

/// <summary>
/// Short native functions that each run one vector instruction on an x86-64 host. The instruction is written anew
/// with fixed registers and one fixed memory operand: of the guest's bytes only the opcode, from a list, and an
/// immediate get through. Functions are made when an instruction is first decoded and live as long as the process.
/// </summary>
internal static unsafe class NativeCode
{
    // Every listed instruction with every immediate takes less than half of it.
    private const int ArenaBytes = 8 << 20;
    private const int Alignment = 16;

    private static readonly Lock Gate = new();
    private static readonly Dictionary<ulong, nint> Functions = [];
    private static readonly Arena? Memory = Arena.TryCreate();
    private static int _used;

    /// <summary>True when this process can run instructions of a guest natively.</summary>
    public static bool IsAvailable => Memory != null;

    /// <summary>The function for an instruction's form, made at need; 0 when the host cannot run it.</summary>
    /// <param name="key">Names the form: same key, same function.</param>
    /// <param name="ins">The instruction, with the fixed operands.</param>
    /// <param name="write">Writes the function around it.</param>
    public static nint Get(ulong key, in Instruction ins, NativeFunctionWriter write)
    {
        if (Memory == null)
        {
            return 0;
        }

        lock (Gate)
        {
            if (!Functions.TryGetValue(key, out var function))
            {
                var assembler = new Assembler(64);
                write(assembler, in ins);
                function = Add(assembler);
                Functions.Add(key, function);
            }

            return function;
        }
    }

    private static nint Add(Assembler assembler)
    {
        using var stream = new MemoryStream();
        var at = _used;
        var entry = Memory!.Executable.Address + at;
        assembler.Assemble(new StreamCodeWriter(stream), (ulong)entry);
        var bytes = stream.GetBuffer().AsSpan(0, (int)stream.Length);
        if (at + bytes.Length > ArenaBytes)
        {
            return 0;
        }

        bytes.CopyTo(Memory.Writable.Span[at..]);
        _used = (at + bytes.Length + Alignment - 1) & -Alignment;
        return entry;
    }

    /// <summary>The same memory twice: never writable and executable at one address.</summary>
    private sealed record Arena(MappedMemory Writable, MappedMemory Executable)
    {
        public static Arena? TryCreate()
        {
            if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
            {
                return null;
            }

            try
            {
                using var file = MemoryFile.Create("introspect-vector-code", ArenaBytes);
                return new Arena(file.Map(0, ArenaBytes, writable: true), file.MapExecutable());
            }
            catch (HypervisorException)
            {
                // A hardened host that forbids it: such instructions are #UD, and CPUID does not tell them.
                return null;
            }
        }
    }
}

/// <summary>Writes a native function around an instruction.</summary>
internal delegate void NativeFunctionWriter(Assembler assembler, in Instruction ins);

/// <summary>What goes into a native function and comes out beside its operands.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct NativeFrame
{
    public const int MxcsrOffset = 0;
    public const int HostMxcsrOffset = 4;
    public const int FlagsOffset = 8;
    public const int Xmm0Offset = 16;
    public const int RaxOffset = 24;
    public const int RdxOffset = 32;
    public const int RcxOffset = 40;

    /// <summary>MXCSR to run with, and afterwards with the flags that were raised.</summary>
    public uint Mxcsr;

    /// <summary>MXCSR of the host's own code.</summary>
    public uint HostMxcsr;

    /// <summary>RFLAGS before and after.</summary>
    public ulong Flags;

    /// <summary>Register XMM0, for the instructions that name it silently.</summary>
    public byte* Xmm0;

    public ulong Rax, Rdx, Rcx;
}
