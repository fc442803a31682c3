using System.Collections.Frozen;
using Introspect.Hypervisor;

namespace Introspect.Rules.Names;

/// <summary>Names of vmexits by the processor manuals: VMX basic exit reasons and SVM exit codes.</summary>
internal static class ExitNames
{
    private const ulong VmxBasicReason = 0xffff;

    private static readonly FrozenDictionary<ulong, string> Vmx = Table(
        (0, "exception_nmi"), (1, "external_interrupt"), (2, "triple_fault"), (3, "init"), (4, "sipi"),
        (7, "interrupt_window"), (8, "nmi_window"), (9, "task_switch"), (10, "cpuid"), (12, "hlt"), (13, "invd"),
        (14, "invlpg"), (15, "rdpmc"), (16, "rdtsc"), (17, "rsm"), (18, "vmcall"), (19, "vmclear"),
        (20, "vmlaunch"), (21, "vmptrld"), (22, "vmptrst"), (23, "vmread"), (24, "vmresume"), (25, "vmwrite"),
        (26, "vmxoff"), (27, "vmxon"), (28, "cr_access"), (29, "dr_access"), (30, "io_instruction"),
        (31, "rdmsr"), (32, "wrmsr"), (33, "invalid_guest_state"), (34, "msr_loading"), (36, "mwait"),
        (37, "monitor_trap"), (39, "monitor"), (40, "pause"), (41, "machine_check"), (43, "tpr_below_threshold"),
        (44, "apic_access"), (45, "virtualised_eoi"), (46, "gdtr_idtr_access"), (47, "ldtr_tr_access"),
        (48, "ept_violation"), (49, "ept_misconfiguration"), (50, "invept"), (51, "rdtscp"),
        (52, "preemption_timer"), (53, "invvpid"), (54, "wbinvd"), (55, "xsetbv"), (56, "apic_write"),
        (57, "rdrand"), (58, "invpcid"), (59, "vmfunc"), (61, "rdseed"), (63, "xsaves"), (64, "xrstors"));

    private static readonly FrozenDictionary<ulong, string> Svm = Table(
        (0x60, "intr"), (0x61, "nmi"), (0x62, "smi"), (0x63, "init"), (0x64, "vintr"), (0x65, "cr0_sel_write"),
        (0x66, "idtr_read"), (0x67, "gdtr_read"), (0x68, "ldtr_read"), (0x69, "tr_read"), (0x6a, "idtr_write"),
        (0x6b, "gdtr_write"), (0x6c, "ldtr_write"), (0x6d, "tr_write"), (0x6e, "rdtsc"), (0x6f, "rdpmc"),
        (0x70, "pushf"), (0x71, "popf"), (0x72, "cpuid"), (0x73, "rsm"), (0x74, "iret"), (0x75, "swint"),
        (0x76, "invd"), (0x77, "pause"), (0x78, "hlt"), (0x79, "invlpg"), (0x7a, "invlpga"), (0x7b, "ioio"),
        (0x7c, "msr"), (0x7d, "task_switch"), (0x7e, "ferr_freeze"), (0x7f, "shutdown"), (0x80, "vmrun"),
        (0x81, "vmmcall"), (0x82, "vmload"), (0x83, "vmsave"), (0x84, "stgi"), (0x85, "clgi"), (0x86, "skinit"),
        (0x87, "rdtscp"), (0x88, "icebp"), (0x89, "wbinvd"), (0x8a, "monitor"), (0x8b, "mwait"),
        (0x8c, "mwait_conditional"), (0x8d, "xsetbv"), (0x8e, "rdpru"), (0x8f, "efer_write_trap"),
        (0x400, "npf"), (0x401, "avic_incomplete_ipi"), (0x402, "avic_noaccel"), (0x403, "vmgexit"));

    /// <summary>The name of an exit, or null for one that the manuals do not name.</summary>
    public static string? Of(CpuVendor vendor, ulong reason)
    {
        if (vendor == CpuVendor.Vmx)
        {
            return Vmx.GetValueOrDefault(reason & VmxBasicReason);
        }

        return reason switch
        {
            <= 0x0f => $"cr{reason}_read",
            <= 0x1f => $"cr{reason - 0x10}_write",
            <= 0x2f => $"dr{reason - 0x20}_read",
            <= 0x3f => $"dr{reason - 0x30}_write",
            <= 0x5f => $"exception_{reason - 0x40}",
            _ => Svm.GetValueOrDefault(reason),
        };
    }

    private static FrozenDictionary<ulong, string> Table(params (ulong Exit, string Name)[] names) =>
        names.ToFrozenDictionary(n => n.Exit, n => n.Name);
}
