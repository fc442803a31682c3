using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Files;

/// <summary>A register that a response can set.</summary>
internal enum GuestRegister : byte
{
    Rax,
    Rbx,
    Rcx,
    Rdx,
    Rsi,
    Rdi,
    Rbp,
    Rsp,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    Rip,
    Rflags,
}

/// <summary>Registers of an event by their names.</summary>
internal static class GuestRegisters
{
    private static readonly string[] AllNames = Array.ConvertAll(Enum.GetNames<GuestRegister>(), name => name.ToLowerInvariant());

    /// <summary>Every name.</summary>
    public static IReadOnlyList<string> Names => AllNames;

    /// <summary>The name of a register.</summary>
    public static string NameOf(GuestRegister register) => AllNames[(int)register];

    /// <summary>The register of a name.</summary>
    public static bool TryParse(string name, out GuestRegister register)
    {
        var index = Array.FindIndex(AllNames, known => known.Equals(name, StringComparison.OrdinalIgnoreCase));
        register = (GuestRegister)Math.Max(0, index);
        return index >= 0;
    }

    /// <summary>The register itself.</summary>
    public static ref ulong Of(ref VmEventRegisters registers, GuestRegister register)
    {
        switch (register)
        {
            case GuestRegister.Rax: return ref registers.Rax;
            case GuestRegister.Rbx: return ref registers.Rbx;
            case GuestRegister.Rcx: return ref registers.Rcx;
            case GuestRegister.Rdx: return ref registers.Rdx;
            case GuestRegister.Rsi: return ref registers.Rsi;
            case GuestRegister.Rdi: return ref registers.Rdi;
            case GuestRegister.Rbp: return ref registers.Rbp;
            case GuestRegister.Rsp: return ref registers.Rsp;
            case GuestRegister.R8: return ref registers.R8;
            case GuestRegister.R9: return ref registers.R9;
            case GuestRegister.R10: return ref registers.R10;
            case GuestRegister.R11: return ref registers.R11;
            case GuestRegister.R12: return ref registers.R12;
            case GuestRegister.R13: return ref registers.R13;
            case GuestRegister.R14: return ref registers.R14;
            case GuestRegister.R15: return ref registers.R15;
            case GuestRegister.Rip: return ref registers.Rip;
            default: return ref registers.Rflags;
        }
    }
}
