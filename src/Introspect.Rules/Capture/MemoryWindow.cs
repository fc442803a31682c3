using System.Globalization;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Capture;

/// <summary>A register that points to memory worth keeping.</summary>
public enum WindowRegister : byte
{
#pragma warning disable CS1591 // One value a register.
    Rax = 0, Rcx = 1, Rdx = 2, Rbx = 3, Rsp = 4, Rbp = 5, Rsi = 6, Rdi = 7,
    R8 = 8, R9 = 9, R10 = 10, R11 = 11, R12 = 12, R13 = 13, R14 = 14, R15 = 15,
    Rip = 16,
#pragma warning restore CS1591

    /// <summary>The linear address of a memory access, where the event has one.</summary>
    Gla = 17,
}

/// <summary>Guest-virtual memory around a register's value.</summary>
/// <param name="Register">The register.</param>
/// <param name="Before">Bytes below its value.</param>
/// <param name="After">Bytes from its value on.</param>
public readonly record struct MemoryWindow(WindowRegister Register, int Before, int After)
{
    /// <summary>Most bytes of one window in each direction.</summary>
    public const int MaxBytes = 4096;

    /// <summary>Most bytes of all windows of a recording.</summary>
    public const int MaxTotalBytes = 32 << 10;

    /// <summary>Bytes from RIP that nobody says the number of: an instruction.</summary>
    public const int InstructionBytes = 16;

    /// <summary>Bytes from any other register that nobody says the number of.</summary>
    public const int UsualBytes = 128;

    private const ulong LongModeActive = 1UL << 10;
    private const uint CodeLong = 1u << 9;

    /// <summary>Bytes of the window.</summary>
    public int Length => Before + After;

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Register.ToString().ToLowerInvariant()}{(Before != 0 ? $"-{Before}" : "")}+{After}");

    /// <summary>The first address of the window at an event.</summary>
    /// <returns>False when the event has no such address.</returns>
    internal bool TryLocate(ref readonly VmEvent request, out ulong address)
    {
        ref readonly var r = ref request.Registers;
        var isLong = (r.MsrEfer & LongModeActive) != 0 && (r.Cs.AccessRights & CodeLong) != 0;
        var value = Register switch
        {
            WindowRegister.Rip => isLong ? r.Rip : (uint)(r.CsBase + r.Rip),
            WindowRegister.Gla => request.MemAccess.Gla,
            WindowRegister.Rsp or WindowRegister.Rbp => isLong ? General(in r) : (uint)(r.SsBase + General(in r)),
            _ => isLong ? General(in r) : (uint)(r.DsBase + General(in r)),
        };
        address = value - (ulong)Before;
        return Register != WindowRegister.Gla || (request.Reason == VmEventReason.MemAccess && (request.MemAccess.Flags & MemAccessFlags.GlaValid) != 0);
    }

    private ulong General(ref readonly VmEventRegisters r) => Register switch
    {
        WindowRegister.Rax => r.Rax,
        WindowRegister.Rcx => r.Rcx,
        WindowRegister.Rdx => r.Rdx,
        WindowRegister.Rbx => r.Rbx,
        WindowRegister.Rsp => r.Rsp,
        WindowRegister.Rbp => r.Rbp,
        WindowRegister.Rsi => r.Rsi,
        WindowRegister.Rdi => r.Rdi,
        WindowRegister.R8 => r.R8,
        WindowRegister.R9 => r.R9,
        WindowRegister.R10 => r.R10,
        WindowRegister.R11 => r.R11,
        WindowRegister.R12 => r.R12,
        WindowRegister.R13 => r.R13,
        WindowRegister.R14 => r.R14,
        _ => r.R15,
    };
}
