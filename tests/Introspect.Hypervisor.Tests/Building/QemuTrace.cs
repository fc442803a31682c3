using System.Globalization;
using System.Text.RegularExpressions;
using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Hypervisor.Tests.Building;

/// <summary>
/// What QEMU says that the demo guest did: from the registers before each instruction and the instruction there,
/// in the same words as <see cref="Describe"/> has for what the guest is written to do.
/// </summary>
internal sealed partial class QemuTrace
{
    public const string Ranges = "0x100000..0x108fff,0x40000000..0x40000fff";

    private readonly byte[] _memory;
    private readonly List<Dictionary<string, ulong>> _states = [];
    private readonly Dictionary<uint, ulong> _msrs = [];

    /// <param name="memory">The guest's memory from <see cref="DemoLayout.Entry32"/>.</param>
    /// <param name="log">QEMU's log of CPU states.</param>
    public QemuTrace(byte[] memory, string log)
    {
        _memory = memory;
        foreach (string line in log.Split('\n'))
        {
            if (line.StartsWith("EAX=", StringComparison.Ordinal) || line.StartsWith("RAX=", StringComparison.Ordinal))
            {
                _states.Add([]);
            }

            foreach (Match field in Field().Matches(line))
            {
                string name = field.Groups[1].Value;
                _states[^1][name[0] == 'E' && name != "EFER" ? "R" + name[1..] : name] =
                    ulong.Parse(field.Groups[2].Value, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            }
        }
    }

    public int Instructions => _states.Count;

    public IEnumerable<ulong> Rips => _states.Select(s => s["RIP"]);

    public static string? Describe(DemoAct act) => act.Reason switch
    {
        VmEventReason.WriteCtrlreg => $"{act.Rip:x} {act.ControlRegister.ToString().ToUpperInvariant()} {act.Old:x} -> {act.New:x}",
        VmEventReason.MovToMsr => $"{act.Rip:x} msr {act.Msr:x} {act.Old:x} -> {act.New:x}",
        VmEventReason.VmExit when act.Msr != 0 => $"{act.Rip:x} rdmsr {act.Msr:x}",
        VmEventReason.Cpuid => $"{act.Rip:x} cpuid {act.Leaf:x}.{act.Subleaf:x} user={act.UserMode}",
        VmEventReason.SoftwareBreakpoint => $"{act.Rip:x} int3 gfn {act.Gfn}",
        VmEventReason.DescriptorAccess => $"{act.Rip:x} load {act.Descriptor.ToString().ToUpperInvariant()}",
        VmEventReason.IoInstruction => $"{act.Rip:x} io {act.Port:x} in={act.PortInput}",
        VmEventReason.MemAccess => $"{act.Rip:x} access {act.Gla:x} {act.Access & (MemAccessFlags)7}",
        _ => null,
    };

    public IEnumerable<string> Acts()
    {
        for (int i = 0; i < _states.Count; i++)
        {
            Dictionary<string, ulong> s = _states[i];
            Instruction instruction = Decode(s);
            if (Act(s, i + 1 < _states.Count ? _states[i + 1] : s, instruction) is { } act)
            {
                yield return $"{s["RIP"]:x} {act}";
            }
        }
    }

    [GeneratedRegex(@"\b(R[A-Z0-9]{1,2}|E[A-Z]{2}|CR[034]|EFER|CPL)\s*=([0-9a-f]+)\b")]
    private static partial Regex Field();

    private Instruction Decode(Dictionary<string, ulong> s)
    {
        ulong rip = s["RIP"];
        ulong physical = rip >= DemoLayout.OwnPages ? rip - DemoLayout.OwnPages + DemoLayout.UserCode : rip;
        int bitness = s["CR0"] >> 31 == 0 || rip < DemoLayout.Code64 ? 32 : 64;
        return Decoder.Create(bitness, new ByteArrayCodeReader(_memory, (int)(physical - DemoLayout.Entry32), 15), rip).Decode();
    }

    private string? Act(Dictionary<string, ulong> s, Dictionary<string, ulong> next, in Instruction instruction)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Mov when instruction.Op0Register.IsCR():
                string name = instruction.Op0Register.ToString().ToUpperInvariant();
                ulong value = s[instruction.Op1Register.GetFullRegister().ToString().ToUpperInvariant()];
                return Change(name, s[name], value, next[name]);
            case Mnemonic.Clts:
                return Change("CR0", s["CR0"], s["CR0"] & ~8UL, next["CR0"]);
            case Mnemonic.Wrmsr:
                uint msr = (uint)s["RCX"];
                ulong written = (s["RDX"] << 32) | (uint)s["RAX"];
                ulong old = _msrs.GetValueOrDefault(msr);
                _msrs[msr] = written;
                return $"msr {msr:x} {old:x} -> {written:x}";
            case Mnemonic.Rdmsr:
                return $"rdmsr {(uint)s["RCX"]:x}";
            case Mnemonic.Cpuid:
                return $"cpuid {(uint)s["RAX"]:x}.{(uint)s["RCX"]:x} user={s["CPL"] == 3}";
            case Mnemonic.Int3:
                return $"int3 gfn 0x{s["RIP"] >> 12:x}";
            case Mnemonic.Lgdt:
                return "load GDTR";
            case Mnemonic.Lidt:
                return "load IDTR";
            case Mnemonic.Ltr:
                return "load TR";
            case Mnemonic.Out when instruction.Immediate8 == 0xf4:
                return null;
            case Mnemonic.In:
            case Mnemonic.Out:
                return $"io {instruction.Immediate8:x} in={instruction.Mnemonic == Mnemonic.In}";
            default:
                return WatchedAccess(s, instruction);
        }
    }

    private static string? Change(string name, ulong old, ulong value, ulong result) =>
        result != value ? $"{name} {value:x} was not taken: {result:x}"
        : old != value ? $"{name} {old:x} -> {value:x}"
        : null;

    private static string? WatchedAccess(Dictionary<string, ulong> s, in Instruction instruction)
    {
        if (s["RIP"] >> 12 == DemoLayout.WatchedPage >> 12)
        {
            return $"access {s["RIP"]:x} {MemAccessFlags.Execute}";
        }

        foreach (UsedMemory memory in new InstructionInfoFactory().GetInfo(instruction).GetUsedMemory())
        {
            ulong address = (memory.Base == Register.None || memory.Base == Register.RIP ? 0 : s[memory.Base.GetFullRegister().ToString().ToUpperInvariant()])
                + (memory.Index == Register.None ? 0 : s[memory.Index.GetFullRegister().ToString().ToUpperInvariant()] * (ulong)memory.Scale)
                + memory.Displacement;
            if (address >> 12 == DemoLayout.WatchedPage >> 12 && memory.Access is not OpAccess.NoMemAccess)
            {
                return $"access {address:x} {(memory.Access == OpAccess.Read ? MemAccessFlags.Read : MemAccessFlags.Write)}";
            }
        }

        return null;
    }
}
