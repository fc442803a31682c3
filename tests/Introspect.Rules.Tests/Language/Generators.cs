using FsCheck;
using FsCheck.Fluent;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Language;

namespace Introspect.Rules.Tests.Language;

/// <summary>Random expressions and events. Their numbers are few, so that they meet.</summary>
internal static class Generators
{
    public static readonly VmEventReasonSet Reasons = Compile.Writes | Compile.Msrs | Compile.Accesses;

    private const ulong Smep = 1 << 20;
    private const ulong Smap = 1 << 21;
    private const ulong Nxe = 1 << 11;
    private const MemAccessFlags Rights = MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.Execute;

    private static readonly ulong[] Values = [0, 1, 2, 3, 5, 8, 0x80, Nxe, 0x1000, 0x1fff, 0x2000, Smep, Smap, Smep | Smap, Smep | 1, ulong.MaxValue, ulong.MaxValue - 1];

    private static readonly uint[] MsrNumbers = [0x10, 0xc0000080, 0xc0000081, 0xc0000082];

    private static readonly Dictionary<ulong, byte> GuestMemory = Enumerable.Range(0, 16).ToDictionary(i => 0x1ff8UL + (ulong)i, i => (byte)(i & 3));

    private static readonly Model.Number[] Fields =
    [
        new Model.Field("old", e => IsWrite(e) ? e.WriteCtrlreg.OldValue : IsMsr(e) ? e.MovToMsr.OldValue : null),
        new Model.Field("new", e => IsWrite(e) ? e.WriteCtrlreg.NewValue : IsMsr(e) ? e.MovToMsr.NewValue : null),
        new Model.Field("changed", e => IsWrite(e) ? e.WriteCtrlreg.NewValue ^ e.WriteCtrlreg.OldValue : IsMsr(e) ? e.MovToMsr.NewValue ^ e.MovToMsr.OldValue : null),
        new Model.Field("msr", e => IsMsr(e) ? e.MovToMsr.Msr : null),
        new Model.Field("gfn", e => IsAccess(e) ? e.MemAccess.Gfn : null),
        new Model.Field("gpa", e => IsAccess(e) ? (e.MemAccess.Gfn << 12) + e.MemAccess.Offset : null),
        new Model.Field("gla", e => IsAccess(e) && (e.MemAccess.Flags & MemAccessFlags.GlaValid) != 0 ? e.MemAccess.Gla : null),
        new Model.Field("rax", e => e.Registers.Rax),
        new Model.Field("rip", e => e.Registers.Rip),
        new Model.Field("cr3", e => e.Registers.Cr3),
        new Model.Field("process", e => Root(e)),
        new Model.Field("vcpu", e => e.VcpuId),
        new Model.Field("domain", _ => Compile.Domain.Id.Value),
    ];

    private static readonly Model.Truth[] Questions =
    [
        .. from register in Enum.GetValues<ControlRegisterIndex>()
           from negated in new[] { false, true }
           select new Model.Question($"register {(negated ? "!=" : "==")} {register.ToString().ToLowerInvariant()}", 5, e => IsWrite(e) ? e.WriteCtrlreg.Index == register != negated : null),
        new Model.Question("register in (CR0, cr4)", 5, e => IsWrite(e) ? e.WriteCtrlreg.Index is ControlRegisterIndex.Cr0 or ControlRegisterIndex.Cr4 : null),
        new Model.Question("cleared(CR4.SMEP)", 100, e => OfCr4(e, (old, @new) => (old & ~@new & Smep) != 0)),
        new Model.Question("set(CR4.SMEP | CR4.SMAP)", 100, e => OfCr4(e, (old, @new) => (~old & @new & (Smep | Smap)) != 0)),
        new Model.Question("changed(CR4.SMAP)", 100, e => OfCr4(e, (old, @new) => ((old ^ @new) & Smap) != 0)),
        new Model.Question("cleared(EFER.NXE)", 100, e => IsMsr(e) ? e.MovToMsr.Msr == 0xc0000080 && (e.MovToMsr.OldValue & ~e.MovToMsr.NewValue & Nxe) != 0 : null),
        new Model.Question("msr in STAR..LSTAR", 5, e => IsMsr(e) ? e.MovToMsr.Msr is 0xc0000081 or 0xc0000082 : null),
        new Model.Question("page_walk", 100, e => IsAccess(e) ? (e.MemAccess.Flags & MemAccessFlags.FaultInGpt) != 0 : null),
        .. from rights in Enumerable.Range(1, 7)
           select new Model.Question($"access == {Name(rights)}", 5, e => IsAccess(e) ? (int)(e.MemAccess.Flags & Rights) == rights : null),
        .. from rights in Enumerable.Range(1, 7)
           select new Model.Question($"access contains {Name(rights)}", 5, e => IsAccess(e) ? ((int)e.MemAccess.Flags & rights) == rights : null),
        new Model.Question("access not in (r, x)", 5, e => IsAccess(e) ? (int)(e.MemAccess.Flags & Rights) is not (1 or 4) : null),
        new Model.Question("access in (w, rw)", 5, e => IsAccess(e) ? (int)(e.MemAccess.Flags & Rights) is 2 or 3 : null),
        new Model.Question("reason == mov_to_msr", 5, e => IsMsr(e)),
        new Model.Question("domain_name startswith 'web'", 5, _ => true),
        new Model.Question("name == 'lstar'", 5, e => IsMsr(e) && e.MovToMsr.Msr > 0x10 ? e.MovToMsr.Msr == 0xc0000082 : IsMsr(e) ? false : null),
    ];

    public static Gen<Situation> Situations =>
        from kind in Gen.Choose(0, 2)
        from registers in Gen.ArrayOf(Gen.Elements(Values), 8)
        from small in Gen.Choose(0, 63)
        from msr in Gen.Elements(MsrNumbers)
        select Make(kind, registers, small, msr);

    /// <summary>Conditions, with smaller ones to look at when one fails.</summary>
    public static Arbitrary<Model.Truth> Conditions => Arb.From(Gen.Sized(size => Truths(Math.Min(5, 1 + (size / 15)))), truth => truth.Parts);

    private static Gen<Model.Number> Numbers(int depth)
    {
        var constants = Gen.Elements(Values).Select(v => (Model.Number)new Model.Constant(v));
        var leaves = Gen.Frequency((2, constants), (3, Gen.Elements(Fields)));
        if (depth <= 0)
        {
            return leaves;
        }

        var binaries =
            from op in Gen.Elements("|", "^", "&", "&", "&", "<<", ">>", "+", "-", "*")
            from left in Numbers(depth - 1)
            from right in Numbers(depth - 1)
            select (Model.Number)new Model.Binary(op, left, right);
        var reads =
            from bytes in Gen.Elements(1, 2, 4, 8)
            from physical in Gen.Elements(true, false)
            from address in Numbers(depth - 1)
            select (Model.Number)new Model.Memory(bytes, physical, address);
        return Gen.Frequency((3, leaves), (4, binaries), (1, Numbers(depth - 1).Select(n => (Model.Number)new Model.Complement(n))), (1, reads));
    }

    private static Gen<Model.Truth> Truths(int depth)
    {
        var comparisons =
            from op in Gen.Elements("==", "==", "!=", "!=", "<", "<=", ">", ">=", "contains")
            from left in Numbers(2)
            from right in Numbers(1)
            select (Model.Truth)new Model.Compare(op, left, right);
        var limits =
            from op in Gen.Elements("==", "!=", "<", ">=")
            from left in Gen.Elements(Fields)
            from right in Gen.Elements(Values)
            select (Model.Truth)new Model.Compare(op, left, new Model.Constant(right));
        var memberships =
            from subject in Numbers(1)
            from ends in Gen.ArrayOf(Gen.Elements(Values))
            from negated in Gen.Elements(true, false)
            select (Model.Truth)new Model.In(subject, [.. ends.Append(5UL).Select((v, i) => i % 2 == 0 ? (v, v) : (Math.Min(v, ends[0]), Math.Max(v, ends[0])))], negated);
        var known = Numbers(1).Select(n => (Model.Truth)new Model.Known(n));
        var atoms = Gen.Frequency((3, comparisons), (3, limits), (2, memberships), (4, Gen.Elements(Questions)), (1, known));
        if (depth <= 0)
        {
            return atoms;
        }

        var smaller = Truths(depth - 1);
        var both = from left in smaller from right in smaller select (Model.Truth)new Model.Both(left, right);
        var either = from left in smaller from right in smaller select (Model.Truth)new Model.Either(left, right);
        return Gen.Frequency((2, atoms), (3, both), (3, either), (2, smaller.Select(t => (Model.Truth)new Model.Not(t))));
    }

    private static Situation Make(int kind, ulong[] values, int small, uint msr)
    {
        var e = kind switch
        {
            0 => Compile.Write((ControlRegisterIndex)(small & 3), values[0], values[1]),
            1 => Compile.MsrWrite(msr, values[0], values[1]),
            _ => Compile.Access(values[0] & 0xf_ffff_ffff_ffff, values[1] & 0xfff, (MemAccessFlags)((small & 7) == 0 ? small | 1 : small), values[2]),
        };
        e.VcpuId = (uint)(small & 3);
        e.Registers.Rax = values[3];
        e.Registers.Rip = values[4];
        e.Registers.Cr3 = values[5];
        e.Registers.Cr0 = (small & 8) == 0 ? 0 : 1UL << 31;
        e.Registers.Cr4 = (small & 16) == 0 ? 0 : 1UL << 5;
        e.Registers.MsrEfer = (small & 32) == 0 ? 0 : 1UL << 10;
        return new(e, GuestMemory);
    }

    private static ulong Root(VmEvent e) =>
        e.Registers.Cr0 == 0 || e.Registers.MsrEfer != 0 ? e.Registers.Cr3 & 0x000f_ffff_ffff_f000
        : e.Registers.Cr4 != 0 ? e.Registers.Cr3 & 0xffff_ffe0
        : e.Registers.Cr3 & 0xffff_f000;

    private static bool? OfCr4(VmEvent e, Func<ulong, ulong, bool> question) =>
        IsWrite(e) ? e.WriteCtrlreg.Index == ControlRegisterIndex.Cr4 && question(e.WriteCtrlreg.OldValue, e.WriteCtrlreg.NewValue) : null;

    private static string Name(int rights) => $"{((rights & 1) != 0 ? "r" : "")}{((rights & 2) != 0 ? "w" : "")}{((rights & 4) != 0 ? "x" : "")}";

    private static bool IsWrite(VmEvent e) => e.Reason == VmEventReason.WriteCtrlreg;

    private static bool IsMsr(VmEvent e) => e.Reason == VmEventReason.MovToMsr;

    private static bool IsAccess(VmEvent e) => e.Reason == VmEventReason.MemAccess;
}
