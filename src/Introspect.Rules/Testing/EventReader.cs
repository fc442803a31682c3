using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Names;

namespace Introspect.Rules.Testing;

/// <summary>Reads events as test files have them: the reason with its fields by the names that conditions use, and registers.</summary>
internal sealed class EventReader(RuleValues values)
{
    private const byte HardwareException = 3, SoftwareException = 6;

    /// <summary>Keys beside the reason.</summary>
    public static readonly string[] Keys = ["vcpu", "sync", "registers", "wait", "expect"];

    /// <summary>An event with the registers of a kernel in long mode, for a test to change.</summary>
    public static VmEvent Blank(VmEventReason reason)
    {
        var request = default(VmEvent);
        request.Version = VmEvent.InterfaceVersion;
        request.Reason = reason;
        request.Flags = VmEventFlags.VcpuPaused;
        request.Registers.Rflags = 0x202;
        request.Registers.Rip = 0xffff_ffff_8100_0000;
        request.Registers.Rsp = 0xffff_ffff_8200_0000;
        request.Registers.Cr0 = 0x8005_0033;
        request.Registers.Cr3 = 0x1000;
        request.Registers.Cr4 = 0x3006a0;
        request.Registers.MsrEfer = 0xd01;
        request.Registers.Dr6 = 0xffff_0ff0;
        request.Registers.Dr7 = 0x400;
        request.Registers.Cs = VmEventSegment.Pack(0xfffff, 0xa9b);
        request.Registers.Ss = VmEventSegment.Pack(0xfffff, 0xc93);
        request.Registers.CsSel = 8;
        request.Registers.SsSel = 0x10;
        return request;
    }

    /// <summary>Reads an event.</summary>
    /// <returns>False when there was a mistake, which is told.</returns>
    public bool TryRead(MappingNode node, out VmEvent request)
    {
        request = default;
        var reasons = node.Entries.Where(entry => OnReader.TryReason(entry.Key.Text, out _)).ToList();
        if (reasons.Count != 1)
        {
            var unknown = node.Entries.FirstOrDefault(entry => !Keys.Contains(entry.Key.Text));
            values.Error(
                reasons.Count > 1 ? reasons[1].Key.Span : unknown.Key?.Span ?? node.Span,
                reasons.Count > 1 ? "an event has one reason; make a second event of this" : $"an event needs its reason; write one of {string.Join(", ", OnReader.KnownNames)}",
                reasons.Count == 0 && unknown.Key is { } key ? Suggestion.Nearest(key.Text, OnReader.KnownNames) : null);
            return false;
        }

        values.RefuseOthers(node, "of an event", [reasons[0].Key.Text, .. Keys]);
        OnReader.TryReason(reasons[0].Key.Text, out var reason);
        request = Blank(reason);
        if (reasons[0].Value is MappingNode fields)
        {
            ReadFields(fields, ref request);
        }
        else if (reasons[0].Value is not ScalarNode { IsEmpty: true })
        {
            values.Error(reasons[0].Value.Span, $"{RuleValues.Shown(reasons[0].Value)} stands here where the fields of the event must be");
        }

        if (node["vcpu"] is { } vcpu && values.TryNumber(vcpu, "vCPU", 0, 511, out var number))
        {
            request.VcpuId = (uint)number;
        }

        if (node["sync"] is { } sync && !values.Flag(sync, true))
        {
            request.Flags = VmEventFlags.None;
        }

        if (node["registers"] is { } registers && values.TryMapping(registers, "registers with their values", out var mapping))
        {
            ReadRegisters(mapping, ref request.Registers);
        }

        return true;
    }

    private void ReadFields(MappingNode fields, ref VmEvent request)
    {
        string[] known = request.Reason switch
        {
            VmEventReason.WriteCtrlreg => ["register", "old", "new"],
            VmEventReason.MovToMsr => ["msr", "old", "new"],
            VmEventReason.MemAccess => ["gpa", "gla", "access", "page_walk"],
            VmEventReason.SoftwareBreakpoint => ["gpa", "insn_length"],
            VmEventReason.DebugException => ["pending_dbg", "insn_length", "trap"],
            VmEventReason.Singlestep => ["gfn"],
            VmEventReason.Cpuid => ["leaf", "subleaf", "insn_length"],
            VmEventReason.Interrupt => ["vector", "trap", "error_code", "cr2"],
            VmEventReason.DescriptorAccess => ["register", "access"],
            VmEventReason.VmExit => ["exit_reason", "qualification"],
            VmEventReason.IoInstruction => ["port", "bytes", "direction", "string"],
            _ => [],
        };
        values.RefuseOthers(fields, $"of {ReasonNames.Of(request.Reason)}", known);
        switch (request.Reason)
        {
            case VmEventReason.WriteCtrlreg:
                request.WriteCtrlreg.Index = (ControlRegisterIndex)Name(fields, "register", ["cr0", "cr3", "cr4", "xcr0"]);
                request.WriteCtrlreg.OldValue = Number(fields, "old");
                request.WriteCtrlreg.NewValue = Number(fields, "new");
                break;
            case VmEventReason.MovToMsr:
                request.MovToMsr.Msr = Msr(fields);
                request.MovToMsr.OldValue = Number(fields, "old");
                request.MovToMsr.NewValue = Number(fields, "new");
                break;
            case VmEventReason.MemAccess:
                ReadAccess(fields, ref request.MemAccess);
                break;
            case VmEventReason.SoftwareBreakpoint:
                request.Debug.Gfn = Number(fields, "gpa") >> Gfn.PageShift;
                request.Registers.Rip = (request.Registers.Rip & ~(ulong)(Gfn.PageSize - 1)) | (Number(fields, "gpa") & (Gfn.PageSize - 1));
                request.Debug.InsnLength = (uint)Number(fields, "insn_length", 1);
                request.Debug.Type = SoftwareException;
                break;
            case VmEventReason.DebugException:
                request.Debug.PendingDbg = Number(fields, "pending_dbg");
                request.Debug.InsnLength = (uint)Number(fields, "insn_length");
                request.Debug.Type = (byte)Number(fields, "trap", HardwareException);
                break;
            case VmEventReason.Singlestep:
                request.SinglestepGfn = Number(fields, "gfn");
                break;
            case VmEventReason.Cpuid:
                request.Cpuid.Leaf = (uint)Number(fields, "leaf");
                request.Cpuid.Subleaf = (uint)Number(fields, "subleaf");
                request.Cpuid.InsnLength = (uint)Number(fields, "insn_length", 2);
                break;
            case VmEventReason.Interrupt:
                request.Interrupt.Vector = (uint)Number(fields, "vector");
                request.Interrupt.Type = (uint)Number(fields, "trap");
                request.Interrupt.ErrorCode = (uint)Number(fields, "error_code", TrapInjection.NoErrorCode);
                request.Interrupt.Cr2 = Number(fields, "cr2");
                break;
            case VmEventReason.DescriptorAccess:
                request.DescAccess.Descriptor = (DescriptorRegister)(1 + Name(fields, "register", ["idtr", "gdtr", "ldtr", "tr"]));
                request.DescAccess.IsWrite = (byte)(fields["access"] is null ? 1 : 1 - Name(fields, "access", ["load", "store"]));
                break;
            case VmEventReason.VmExit:
                request.VmExit.ExitReason = Number(fields, "exit_reason");
                request.VmExit.Qualification = Number(fields, "qualification");
                break;
            case VmEventReason.IoInstruction:
                request.Io.Port = (ushort)Number(fields, "port");
                request.Io.Bytes = (uint)Number(fields, "bytes", 1);
                request.Io.In = (byte)(fields["direction"] is null ? 0 : Name(fields, "direction", ["out", "in"]));
                request.Io.StringOp = fields["string"] is { } text && values.Flag(text, false) ? (byte)1 : (byte)0;
                break;
        }
    }

    private void ReadAccess(MappingNode fields, ref VmEventMemAccess access)
    {
        var address = Number(fields, "gpa");
        access.Gfn = address >> Gfn.PageShift;
        access.Offset = address & (Gfn.PageSize - 1);
        access.Flags = fields["page_walk"] is { } walk && values.Flag(walk, false) ? MemAccessFlags.FaultInGpt : MemAccessFlags.FaultWithGla;
        if (fields["gla"] is not null)
        {
            access.Gla = Number(fields, "gla");
            access.Flags |= MemAccessFlags.GlaValid;
        }

        var kinds = fields["access"] is { } said ? (said as ScalarNode)?.Text ?? "" : "r";
        foreach (var letter in kinds)
        {
            access.Flags |= letter switch
            {
                'r' => MemAccessFlags.Read,
                'w' => MemAccessFlags.Write,
                'x' => MemAccessFlags.Execute,
                _ => MemAccessFlags.None,
            };
        }

        if (kinds.Length == 0 || kinds.Any(letter => letter is not ('r' or 'w' or 'x')))
        {
            values.Error(fields["access"]!.Span, $"{RuleValues.Shown(fields["access"]!)} is no access; write r, w, x, or more than one of them");
        }
    }

    private void ReadRegisters(MappingNode mapping, ref VmEventRegisters registers)
    {
        string[] others = ["cr0", "cr2", "cr3", "cr4", "dr6", "dr7", "efer", "lstar", "star", "gdtr_base", "fs_base", "gs_base", "cpl"];
        foreach (var (key, value) in mapping.Entries)
        {
            if (!GuestRegisters.TryParse(key.Text, out var register) && !others.Contains(key.Text))
            {
                string[] known = [.. GuestRegisters.Names, .. others];
                values.Error(key.Span, $"'{key.Text}' is no register of an event; those are {string.Join(", ", known)}", Suggestion.Nearest(key.Text, known));
                continue;
            }

            var number = Value(value);
            switch (key.Text)
            {
                case "cr0": registers.Cr0 = number; break;
                case "cr2": registers.Cr2 = number; break;
                case "cr3": registers.Cr3 = number; break;
                case "cr4": registers.Cr4 = number; break;
                case "dr6": registers.Dr6 = number; break;
                case "dr7": registers.Dr7 = number; break;
                case "efer": registers.MsrEfer = number; break;
                case "lstar": registers.MsrLstar = number; break;
                case "star": registers.MsrStar = number; break;
                case "gdtr_base": registers.GdtrBase = number; break;
                case "fs_base": registers.FsBase = number; break;
                case "gs_base": registers.GsBase = number; break;
                case "cpl": registers.Ss = VmEventSegment.Pack(0xfffff, 0xc93u | (uint)((number & 3) << 5)); break;
                default: GuestRegisters.Of(ref registers, register) = number; break;
            }
        }
    }

    private ulong Msr(MappingNode fields)
    {
        if (fields["msr"] is ScalarNode { Text: var name } && MsrNames.TryGetNumber(name, out var number))
        {
            return number;
        }

        return Number(fields, "msr");
    }

    private int Name(MappingNode fields, string key, string[] names)
    {
        if (fields[key] is not { } node)
        {
            values.Error(fields.Span, $"'{key}' is missing; write one of {string.Join(", ", names)}");
            return 0;
        }

        var text = (node as ScalarNode)?.Text ?? "";
        var index = Array.FindIndex(names, name => name.Equals(text, StringComparison.OrdinalIgnoreCase));
        if (index < 0)
        {
            values.Error(node.Span, $"{RuleValues.Shown(node)} is none of {string.Join(", ", names)}", Suggestion.Nearest(text, names));
        }

        return Math.Max(0, index);
    }

    private ulong Number(MappingNode fields, string key, ulong otherwise = 0) => fields[key] is { } node ? Value(node) : otherwise;

    // A number, or bits by name: CR4.SMEP | CR4.SMAP | 0x20.
    private ulong Value(RuleNode node)
    {
        var value = 0UL;
        foreach (var part in ((node as ScalarNode)?.Text ?? "").Split('|', StringSplitOptions.TrimEntries))
        {
            if (RuleValues.TryNumber(part, out var number) || (part.Split('.') is [var register, var bit] && RegisterBits.Find(register) is { } bits && bits.TryGetMask(bit, out number)))
            {
                value |= number;
                continue;
            }

            values.Error(node.Span, $"{RuleValues.Shown(node)} is no number; write 0x20, CR4.SMEP, or CR4.SMEP | 0x20");
            break;
        }

        return value;
    }
}
