using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Names;

/// <summary>Reasons as users see them: vm_event.h's names in lower case, the same in text, JSON and metrics.</summary>
internal static class ReasonNames
{
    private static readonly string[] Names =
    [
        "unknown", "mem_access", "mem_sharing", "mem_paging", "write_ctrlreg", "mov_to_msr", "software_breakpoint",
        "singlestep", "guest_request", "debug_exception", "cpuid", "privileged_call", "interrupt",
        "descriptor_access", "emul_unimplemented", "vmexit", "io_instruction",
    ];

    /// <summary>How many reasons have a name of their own.</summary>
    public static int Count => Names.Length;

    /// <summary>Length of the longest name.</summary>
    public static int Width { get; } = Names.Max(n => n.Length);

    /// <summary>The name of a reason; a number that no header knows is <c>unknown</c>, so that labels stay bounded.</summary>
    public static string Of(VmEventReason reason) => (uint)reason < (uint)Names.Length ? Names[(int)reason] : Names[0];
}
