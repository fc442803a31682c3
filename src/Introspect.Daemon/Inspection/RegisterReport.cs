using System.Globalization;
using System.Text;
using System.Text.Json;
using Introspect.Daemon.Output;
using Introspect.Daemon.Symbols;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Inspection;

/// <summary>The registers of a vCPU, for people and for programs.</summary>
internal static class RegisterReport
{
    private static readonly (int Bit, string Name)[] FlagBits =
    [
        (0, "CF"), (2, "PF"), (4, "AF"), (6, "ZF"), (7, "SF"), (8, "TF"), (9, "IF"), (10, "DF"), (11, "OF"), (14, "NT"),
        (16, "RF"), (17, "VM"), (18, "AC"), (19, "VIF"), (20, "VIP"), (21, "ID"),
    ];

    /// <summary>The registers as lines.</summary>
    public static string ToText(InspectedVcpu vcpu)
    {
        var s = vcpu.State;
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"domain {vcpu.Info.Id} ({vcpu.Info.Name}) vCPU {vcpu.Vcpu}, {vcpu.Bitness}-bit code, CPL {Cpl(s)}\n");
        foreach (var row in General(s).Chunk(4))
        {
            text.AppendJoin("  ", row.Select(r => $"{r.Name,-4}{r.Value:x16}")).Append('\n');
        }

        text.Append(CultureInfo.InvariantCulture, $"rip {s.Rip:x16}");
        if (vcpu.Symbols?.Describe(vcpu.Rip) is { } symbol)
        {
            text.Append("  ").Append(symbol);
        }

        text.Append('\n');
        text.Append(CultureInfo.InvariantCulture, $"rflags {s.Rflags:x}");
        foreach (var (bit, name) in FlagBits)
        {
            text.Append((s.Rflags >> bit & 1) != 0 ? " " + name : "");
        }

        text.Append('\n');
        AppendControl(text, ControlRegisterIndex.Cr0, s.Cr0);
        text.Append(CultureInfo.InvariantCulture, $"cr2 {s.Cr2:x16}  cr3 {s.Cr3:x16}\n");
        AppendControl(text, ControlRegisterIndex.Cr4, s.Cr4);
        text.Append(CultureInfo.InvariantCulture, $"dr0 {s.Dr0:x16}  dr1 {s.Dr1:x16}  dr2 {s.Dr2:x16}  dr3 {s.Dr3:x16}  dr6 {s.Dr6:x}  dr7 {s.Dr7:x}\n");
        foreach (var (name, segment) in Segments(s))
        {
            text.Append(CultureInfo.InvariantCulture, $"{name,-4} {segment.Selector:x4}  base {segment.Base:x16}  limit {segment.Limit:x8}  rights {segment.AccessRights:x5}\n");
        }

        text.Append(CultureInfo.InvariantCulture, $"gdtr       base {s.GdtrBase:x16}  limit {s.GdtrLimit:x8}\nidtr       base {s.IdtrBase:x16}  limit {s.IdtrLimit:x8}\n");
        foreach (var row in Msrs(s).Chunk(3))
        {
            text.AppendJoin("  ", row.Select(r => $"{r.Name} {r.Value:x}")).Append('\n');
        }

        return text.ToString();
    }

    /// <summary>The registers as one JSON object, by the schema in docs/events.schema.json.</summary>
    public static void WriteJson(Stream output, InspectedVcpu vcpu)
    {
        var s = vcpu.State;
        using (var json = new Utf8JsonWriter(output))
        {
            json.WriteStartObject();
            json.WriteString("type", "registers");
            json.WriteNumber("domain", vcpu.Info.Id.Value);
            json.WriteString("domain_name", vcpu.Info.Name);
            json.WriteNumber("vcpu", vcpu.Vcpu.Value);
            json.WriteNumber("bits", vcpu.Bitness);
            json.WriteNumber("cpl", Cpl(s));
            if (vcpu.Symbols?.Describe(vcpu.Rip) is { } symbol)
            {
                json.WriteString("symbol", symbol);
            }

            foreach (var (name, value) in General(s).Concat(Control(s)).Concat(Msrs(s)))
            {
                json.WriteString(name, Hex(value));
            }

            foreach (var (name, segment) in Segments(s))
            {
                json.WriteStartObject(name);
                json.WriteString("selector", Hex(segment.Selector));
                json.WriteString("base", Hex(segment.Base));
                json.WriteString("limit", Hex(segment.Limit));
                json.WriteString("rights", Hex(segment.AccessRights));
                json.WriteEndObject();
            }

            foreach (var (name, address, limit) in new[] { ("gdtr", s.GdtrBase, s.GdtrLimit), ("idtr", s.IdtrBase, s.IdtrLimit) })
            {
                json.WriteStartObject(name);
                json.WriteString("base", Hex(address));
                json.WriteString("limit", Hex(limit));
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        output.Write("\n"u8);
    }

    private static IEnumerable<(string Name, ulong Value)> General(VcpuState s) =>
    [
        ("rax", s.Rax), ("rbx", s.Rbx), ("rcx", s.Rcx), ("rdx", s.Rdx), ("rsi", s.Rsi), ("rdi", s.Rdi), ("rbp", s.Rbp), ("rsp", s.Rsp),
        ("r8", s.R8), ("r9", s.R9), ("r10", s.R10), ("r11", s.R11), ("r12", s.R12), ("r13", s.R13), ("r14", s.R14), ("r15", s.R15),
    ];

    private static IEnumerable<(string Name, ulong Value)> Control(VcpuState s) =>
    [
        ("rip", s.Rip), ("rflags", s.Rflags), ("cr0", s.Cr0), ("cr2", s.Cr2), ("cr3", s.Cr3), ("cr4", s.Cr4),
        ("dr0", s.Dr0), ("dr1", s.Dr1), ("dr2", s.Dr2), ("dr3", s.Dr3), ("dr6", s.Dr6), ("dr7", s.Dr7),
    ];

    private static IEnumerable<(string Name, ulong Value)> Msrs(VcpuState s) =>
    [
        ("efer", s.MsrEfer), ("star", s.MsrStar), ("lstar", s.MsrLstar), ("cstar", s.MsrCstar), ("fmask", s.MsrSyscallMask),
        ("kernel_gs_base", s.ShadowGs), ("sysenter_cs", s.SysenterCs), ("sysenter_esp", s.SysenterEsp), ("sysenter_eip", s.SysenterEip), ("tsc", s.Tsc),
    ];

    private static IEnumerable<(string Name, SegmentState Segment)> Segments(VcpuState s) =>
        [("cs", s.Cs), ("ss", s.Ss), ("ds", s.Ds), ("es", s.Es), ("fs", s.Fs), ("gs", s.Gs), ("tr", s.Tr), ("ldtr", s.Ldtr)];

    // The privilege level is that of SS, whose hidden part has it in every mode.
    private static int Cpl(VcpuState s) => (int)(s.Ss.AccessRights >> 5 & 3);

    private static void AppendControl(StringBuilder text, ControlRegisterIndex register, ulong value)
    {
        text.Append(CultureInfo.InvariantCulture, $"{EventDetail.Register(register).ToLowerInvariant()} {value:x16} ");
        BitNames.AppendSet(text, register, value);
        text.Append('\n');
    }

    private static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");
}
