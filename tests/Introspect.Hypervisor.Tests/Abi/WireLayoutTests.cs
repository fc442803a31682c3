using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Tests.Abi;

public class WireLayoutTests
{
    private const string Prologue = """
        #include <stddef.h>
        #include <stdint.h>
        #define __XEN_TOOLS__ 1
        #include <xen/xen.h>
        #include <xen/domctl.h>
        #include <xen/sysctl.h>
        #include <xen/memory.h>
        #include <xen/vm_event.h>
        #include <xen/sched.h>
        #include <xen/event_channel.h>
        #include <xen/vcpu.h>
        #include <xen/version.h>
        #include <xen/hvm/hvm_op.h>
        #include <xen/hvm/dm_op.h>
        #include <xen/hvm/save.h>
        #include <xen/hvm/hvm_vcpu.h>
        #include <xen/arch-x86/hvm/start_info.h>
        #include <xen/hvm/params.h>
        """;

    public static TheoryData<string> Structures => [.. WireLayout.All.Select(static layout => layout.Name)];

    [Theory]
    [MemberData(nameof(Structures))]
    public void Fields_stand_where_the_headers_have_them(string name)
    {
        var layout = WireLayout.All.Single(l => l.Name == name);
        Assert.Equal(layout.Size, SizeOf(layout.Type));
        Assert.Equal(
            layout.Fields.Select(static field => (field.Name, field.Offset)),
            layout.Fields.Select(field => (field.Name, field.ActualOffset(layout.Type))));
    }

    [Theory]
    [MemberData(nameof(Structures))]
    public void Every_public_field_is_in_the_table(string name)
    {
        var layout = WireLayout.All.Single(l => l.Name == name);
        Assert.Equal(
            WireLayout.PublicFields(layout.Type).Select(static field => field.Name).Order(),
            layout.Fields.Select(static field => field.Name).Order());
    }

    [Fact]
    public void Every_structure_of_the_room_is_in_the_table()
    {
        var structures = typeof(VmEvent).Assembly.GetTypes()
            .Where(static type => type is { IsValueType: true, IsEnum: false, IsNested: false, Namespace: "Introspect.Hypervisor.Abi" });
        Assert.Equal(structures.Select(static type => type.Name).Order(), WireLayout.All.Select(static layout => layout.Name).Order());
    }

    [Fact]
    public void No_structure_of_the_room_holds_a_reference() =>
        Assert.All(WireLayout.All, static layout => Assert.False(HoldsReferences(layout.Type), layout.Name));

    [Theory]
    [InlineData("MemAccess.Gfn 24 MemAccess.Offset 32 MemAccess.Gla 40 MemAccess.Flags 48")]
    [InlineData("WriteCtrlreg.Index 24 WriteCtrlreg.NewValue 32 WriteCtrlreg.OldValue 40 MovToMsr.Msr 24 MovToMsr.OldValue 40")]
    [InlineData("Debug.Gfn 24 Debug.PendingDbg 32 Debug.InsnLength 40 Debug.Type 44 Cpuid.InsnLength 24 Cpuid.Leaf 28 Cpuid.Subleaf 32")]
    [InlineData("DescAccess.InstrInfo 24 DescAccess.ExitQualification 32 DescAccess.Descriptor 40 DescAccess.IsWrite 41")]
    [InlineData("Interrupt.Vector 24 Interrupt.Type 28 Interrupt.ErrorCode 32 Interrupt.Cr2 40 VmExit.ExitReason 24 VmExit.Qualification 32")]
    [InlineData("Io.Bytes 24 Io.Port 28 Io.In 30 Io.StringOp 31")]
    [InlineData("Registers.Rax 56 Registers.Rcx 64 Registers.Rdi 112 Registers.R8 120 Registers.R15 176 Registers.Rflags 184 Registers.Dr6 192 Registers.Rip 208")]
    [InlineData("Registers.Cr0 216 Registers.Cr4 240 Registers.SysenterCs 248 Registers.MsrEfer 272 Registers.GdtrBase 296 Registers.NptBase 304")]
    [InlineData("Registers.VmtracePos 312 Registers.CsBase 320 Registers.EsBase 332 Registers.FsBase 336 Registers.GsBase 344 Registers.Cs 352")]
    [InlineData("Registers.Gs 372 Registers.ShadowGs 376 Registers.GdtrLimit 384 Registers.CsSel 386 Registers.GsSel 396")]
    public void Version_7_has_its_published_absolute_offsets(string expectations)
    {
        var words = expectations.Split(' ');
        for (var i = 0; i < words.Length; i += 2)
        {
            var path = words[i].Split('.');
            var outer = typeof(VmEvent).GetField(path[0])!;
            var offset = Marshal.OffsetOf<VmEvent>(path[0])
                + Marshal.OffsetOf(outer.FieldType, path[1]);
            Assert.Equal($"{words[i]} {words[i + 1]}", $"{words[i]} {offset}");
        }
    }

    [XenHeadersFact]
    public void A_C_compiler_agrees_with_the_table()
    {
        var source = new StringBuilder(Prologue).Append('\n');
        foreach (var layout in WireLayout.All.Where(static layout => layout.CType is not null))
        {
            source.Append($"_Static_assert(sizeof({layout.CType}) == {layout.Size}, \"sizeof {layout.Name}\");\n");
            foreach (var field in layout.Fields.Where(static field => field.CPath is not null))
            {
                source.Append($"_Static_assert(offsetof({layout.CType}, {field.CPath}) == {field.Offset}, \"{layout.Name}.{field.Name}\");\n");
            }
        }

        Assert.Equal("", XenHeadersFactAttribute.Compile(source.ToString()));
    }

    [XenHeadersFact]
    public void A_wrong_offset_would_be_seen_by_the_C_compiler() =>
        Assert.Contains(
            "sentinel",
            XenHeadersFactAttribute.Compile(Prologue + "\n_Static_assert(offsetof(struct xen_domctl, u) == 17, \"sentinel\");\n"),
            StringComparison.Ordinal);

    [XenHeadersFact]
    public void Numbers_are_those_of_the_headers()
    {
        var expressions = new (string C, ulong Value)[]
        {
            ("XEN_DOMCTL_INTERFACE_VERSION", XenInterface.DomctlVersion(XenInterface.CoreMinor)),
            ("XEN_SYSCTL_INTERFACE_VERSION", XenInterface.SysctlVersion(XenInterface.CoreMinor)),
            ("VM_EVENT_INTERFACE_VERSION", XenInterface.VmEventVersion(XenInterface.CoreMinor)),
            ("XEN_DOMCTL_vm_event_op", DomctlCommand.VmEventOp),
            ("XEN_DOMCTL_monitor_op", DomctlCommand.MonitorOp),
            ("XEN_DOMCTL_gethvmcontext_partial", DomctlCommand.GetHvmContextPartial),
            ("XEN_DOMCTL_set_access_required", DomctlCommand.SetAccessRequired),
            ("XEN_DOMCTL_debug_op", DomctlCommand.DebugOp),
            ("XEN_DOMCTL_gdbsx_pausevcpu", DomctlCommand.GdbsxPauseVcpu),
            ("XEN_DOMCTL_gdbsx_unpausevcpu", DomctlCommand.GdbsxUnpauseVcpu),
            ("XEN_DOMCTL_CDF_MAX", (ulong)CreateDomainFlags.Vpmu),
            ("XEN_X86_EMU_ALL", (ulong)X86EmulationFlags.All),
            ("XEN_DOMCTL_MONITOR_EVENT_VMEXIT", (ulong)MonitorEventKind.VmExit),
            ("XEN_DOMCTL_MONITOR_OP_CONTROL_REGISTERS", (ulong)MonitorOperation.ControlRegisters),
            ("XEN_SYSCTL_getdomaininfolist", SysctlCommand.GetDomainInfoList),
            ("HVMOP_altp2m", HvmOp.AltP2m),
            ("HVMOP_guest_request_vm_event", HvmOp.GuestRequestVmEvent),
            ("HVMOP_altp2m_set_visibility", AltP2mCommand.SetVisibility),
            ("HVM_PARAM_MONITOR_RING_PFN", HvmParam.MonitorRingPfn),
            ("HVM_NR_PARAMS", HvmParam.Count),
            ("HVMPV_feature_mask", (ulong)ViridianFeatures.All),
            ("XENMEM_access_op", MemoryOp.AccessOp),
            ("XENMEM_maximum_gpfn", MemoryOp.MaximumGpfn),
            ("XENMEM_populate_physmap", MemoryOp.PopulatePhysmap),
            ("XENMEM_access_n2rwx", (ulong)MemoryAccess.N2Rwx),
            ("XENMEM_access_default", (ulong)MemoryAccess.Default),
            ("XENMEM_sharing_op_fork_reset", MemSharingOperation.ForkReset),
            ("XENMEM_FORK_RESET_MEMORY", MemSharingOp.ForkResetMemory),
            ("XEN_DMOP_inject_event", DmOpCommand.InjectEvent),
            ("HVM_SAVE_CODE(CPU)", HvmSaveCode.Cpu),
            ("HVM_SAVE_CODE(TSC_ADJUST)", HvmSaveCode.TscAdjust),
            ("HVM_FILE_MAGIC", HvmSaveHeader.FileMagic),
            ("XEN_HVM_START_MAGIC_VALUE", HvmStartInfo.MagicValue),
            ("SCHEDOP_pin_override", SchedOp.PinOverride),
            ("SHUTDOWN_MAX", (ulong)ShutdownReason.SoftReset),
            ("EVTCHNOP_set_priority", EventChannelOp.SetPriority),
            ("VCPUOP_register_vcpu_time_memory_area", VcpuOp.RegisterVcpuTimeMemoryArea),
            ("__HYPERVISOR_dm_op", HypercallNumber.DmOp),
            ("__HYPERVISOR_domctl", HypercallNumber.Domctl),
            ("DOMID_INVALID", SpecialDomain.Invalid),
            ("CONSOLEIO_read", ConsoleIo.Read),
            ("VM_EVENT_REASON_VMEXIT", (ulong)VmEventReason.VmExit),
            ("VM_EVENT_FLAG_RESET_FORK_MEMORY", (ulong)VmEventFlags.ResetForkMemory),
            ("MEM_ACCESS_FAULT_IN_GPT", (ulong)MemAccessFlags.FaultInGpt),
        };
        var source = new StringBuilder(Prologue).Append('\n');
        foreach (var (c, value) in expressions)
        {
            source.Append($"_Static_assert(({c}) == {value}, \"{c}\");\n");
        }

        Assert.Equal("", XenHeadersFactAttribute.Compile(source.ToString()));
    }

    private static int SizeOf(Type type) =>
        (int)typeof(Unsafe).GetMethod(nameof(Unsafe.SizeOf))!.MakeGenericMethod(type).Invoke(null, null)!;

    private static bool HoldsReferences(Type type) =>
        (bool)typeof(RuntimeHelpers).GetMethod(nameof(RuntimeHelpers.IsReferenceOrContainsReferences))!.MakeGenericMethod(type).Invoke(null, null)!;
}

/// <summary>A test that runs where gcc and Xen's headers (libxen-dev) are, and is told to be skipped elsewhere.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class XenHeadersFactAttribute : FactAttribute
{
    private static readonly Lazy<string?> Missing = new(static () =>
    {
        try
        {
            var complaint = Compile("#include <stdint.h>\n#include <xen/xen.h>\n");
            return complaint.Length == 0 ? null : "Xen's headers are not installed (Debian: libxen-dev)";
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return "gcc is not installed";
        }
    });

    public XenHeadersFactAttribute() => Skip = Missing.Value;

    /// <summary>Compiles to nothing, and returns what the compiler had to say.</summary>
    internal static string Compile(string source)
    {
        using var gcc = Process.Start(new ProcessStartInfo("gcc", "-std=gnu11 -fsyntax-only -x c -")
        {
            RedirectStandardInput = true,
            RedirectStandardError = true,
        })!;
        gcc.StandardInput.Write(source);
        gcc.StandardInput.Close();
        var complaint = gcc.StandardError.ReadToEnd();
        gcc.WaitForExit();
        return complaint;
    }
}
