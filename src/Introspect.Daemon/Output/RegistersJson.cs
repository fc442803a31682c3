using System.Globalization;
using System.Text.Json;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Output;

/// <summary>All registers that an event carries, as the member <c>registers</c> of its line.</summary>
internal static class RegistersJson
{
    public static void Write(Utf8JsonWriter json, in VmEventRegisters r)
    {
        json.WriteStartObject("registers");
        Hex(json, "rax", r.Rax);
        Hex(json, "rbx", r.Rbx);
        Hex(json, "rcx", r.Rcx);
        Hex(json, "rdx", r.Rdx);
        Hex(json, "rsi", r.Rsi);
        Hex(json, "rdi", r.Rdi);
        Hex(json, "rbp", r.Rbp);
        Hex(json, "rsp", r.Rsp);
        Hex(json, "r8", r.R8);
        Hex(json, "r9", r.R9);
        Hex(json, "r10", r.R10);
        Hex(json, "r11", r.R11);
        Hex(json, "r12", r.R12);
        Hex(json, "r13", r.R13);
        Hex(json, "r14", r.R14);
        Hex(json, "r15", r.R15);
        Hex(json, "rip", r.Rip);
        Hex(json, "rflags", r.Rflags);
        Hex(json, "cr0", r.Cr0);
        Hex(json, "cr2", r.Cr2);
        Hex(json, "cr3", r.Cr3);
        Hex(json, "cr4", r.Cr4);
        Hex(json, "dr6", r.Dr6);
        Hex(json, "dr7", r.Dr7);
        Hex(json, "efer", r.MsrEfer);
        Hex(json, "star", r.MsrStar);
        Hex(json, "lstar", r.MsrLstar);
        Hex(json, "sysenter_cs", r.SysenterCs);
        Hex(json, "sysenter_esp", r.SysenterEsp);
        Hex(json, "sysenter_eip", r.SysenterEip);
        Hex(json, "gdtr_base", r.GdtrBase);
        Hex(json, "gdtr_limit", r.GdtrLimit);
        Segment(json, "cs", r.CsSel, r.CsBase, r.Cs);
        Segment(json, "ss", r.SsSel, r.SsBase, r.Ss);
        Segment(json, "ds", r.DsSel, r.DsBase, r.Ds);
        Segment(json, "es", r.EsSel, r.EsBase, r.Es);
        Segment(json, "fs", r.FsSel, r.FsBase, r.Fs);
        Segment(json, "gs", r.GsSel, r.GsBase, r.Gs);
        Hex(json, "shadow_gs", r.ShadowGs);
        Hex(json, "npt_base", r.NptBase);
        Hex(json, "vmtrace_pos", r.VmtracePos);
        json.WriteEndObject();
    }

    private static void Segment(Utf8JsonWriter json, string name, ushort selector, ulong @base, in VmEventSegment segment)
    {
        json.WriteStartObject(name);
        Hex(json, "selector", selector);
        Hex(json, "base", @base);
        Hex(json, "limit", segment.Limit);
        Hex(json, "rights", segment.AccessRights);
        json.WriteEndObject();
    }

    private static void Hex(Utf8JsonWriter json, string name, ulong value)
    {
        Span<char> text = stackalloc char[18];
        text.TryWrite(CultureInfo.InvariantCulture, $"0x{value:x}", out var length);
        json.WriteString(name, text[..length]);
    }
}
