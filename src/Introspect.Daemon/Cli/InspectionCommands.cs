using System.CommandLine;
using Introspect.Daemon.Inspection;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Cli;

/// <summary>The commands that look at a domain: <c>regs</c>, <c>mem</c> and <c>disasm</c>.</summary>
internal sealed class InspectionCommands
{
    private const ulong DefaultLength = 64;
    private const ulong MaxLength = 1UL << 30;
    private const int DefaultCount = 10;
    private const int MaxCount = 100_000;

    private readonly Argument<string> _domain = new("DOMAIN") { Description = "Number, UUID or name" };
    private readonly Option<string?> _vcpu = new("--vcpu") { Description = "Which vCPU (default 0)", HelpName = "N" };
    private readonly Option<string?> _cr3 = new("--cr3") { Description = "Page tables to walk instead of the vCPU's own", HelpName = "CR3" };
    private readonly GuestOptions _guest = new();
    private readonly SymbolOptions _symbols = new();

    /// <summary>Makes <c>introspect regs</c>.</summary>
    public static Command CreateRegisters(ICommands commands)
    {
        var shared = new InspectionCommands();
        var json = new Option<bool>("--json") { Description = "One JSON object (docs/events-json.md)" };
        var command = new Command("regs", "Show the registers of a vCPU") { shared._domain };
        shared.AddTo(command);
        command.Add(json);
        command.SetAction(result => commands.Registers(shared.ReadTarget(result), result.GetValue(json)));
        return command;
    }

    /// <summary>Makes <c>introspect mem</c>.</summary>
    public static Command CreateMemory(ICommands commands)
    {
        var shared = new InspectionCommands();
        var address = new Argument<string>("ADDRESS") { Description = "Number or SYMBOL[+OFFSET]" };
        var length = new Argument<string?>("LENGTH") { Description = $"Bytes (default {DefaultLength})", Arity = ArgumentArity.ZeroOrOne };
        var physical = new Option<bool>("--physical") { Description = "The address is guest-physical" };
        var format = new Option<string?>("--format") { Description = "hex (default), raw (the bytes themselves) or u64", HelpName = "FORMAT", CompletionSources = { "hex", "raw", "u64" } };
        var command = new Command("mem", "Show memory of a domain") { shared._domain, address, length };
        command.Add(physical);
        shared.AddTo(command);
        command.Add(shared._cr3);
        command.Add(format);
        command.SetAction(result =>
        {
            var isPhysical = result.GetValue(physical);
            if (isPhysical && GuestOptions.IsGiven(result, shared._cr3))
            {
                throw UserError.Usage("--physical and --cr3 exclude each other; a physical address needs no page tables");
            }

            return commands.Memory(new(shared.ReadTarget(result), ReadPlace(result.GetRequiredValue(address), result), ReadLength(result.GetValue(length)), isPhysical, ReadFormat(result.GetValue(format))));
        });
        return command;
    }

    /// <summary>Makes <c>introspect disasm</c>.</summary>
    public static Command CreateDisassembly(ICommands commands)
    {
        var shared = new InspectionCommands();
        var address = new Argument<string?>("ADDRESS") { Description = "Number or SYMBOL[+OFFSET]; without it where the vCPU is", Arity = ArgumentArity.ZeroOrOne };
        var count = new Argument<string?>("COUNT") { Description = $"Instructions (default {DefaultCount})", Arity = ArgumentArity.ZeroOrOne };
        var command = new Command("disasm", "Show code of a domain") { shared._domain, address, count };
        shared.AddTo(command);
        command.Add(shared._cr3);
        command.SetAction(result => commands.Disassemble(new(
            shared.ReadTarget(result), result.GetValue(address) is { } text ? ReadPlace(text, result) : null, ReadCount(result.GetValue(count)))));
        return command;
    }

    private void AddTo(Command command)
    {
        _guest.AddHypervisorTo(command);
        command.Add(_vcpu);
        _symbols.AddTo(command);
    }

    private InspectionTarget ReadTarget(ParseResult result)
    {
        var domain = CommandLine.ParseDomain(result.GetRequiredValue(_domain), result);
        return new(_guest.ReadConnected(result, result.CommandResult.Command.Name), domain, ReadVcpu(result.GetValue(_vcpu)))
        {
            Symbols = _symbols.Read(result),
            Cr3 = ReadCr3(result.GetValue(_cr3)),
        };
    }

    private static VcpuId ReadVcpu(string? text) => text is null ? default
        : SelectionParser.TryNumber(text, out var vcpu) && vcpu <= uint.MaxValue ? new((uint)vcpu)
        : throw UserError.Usage($"--vcpu: '{text}' is no number of a vCPU; write 0 or more");

    private static ulong? ReadCr3(string? text) => text is null ? null
        : SelectionParser.TryNumber(text, out var root) ? root
        : throw UserError.Usage($"--cr3: '{text}' is no value of CR3; write a number (0x10a000)");

    private static Place ReadPlace(string text, ParseResult result) =>
        text.StartsWith('-') ? throw UserError.Usage(CommandLine.Unknown("option", text, result.CommandResult))
        : Place.TryParse(text, out var place, out var mistake) ? place
        : throw UserError.Usage($"ADDRESS: {mistake}");

    private static ulong ReadLength(string? text) => text is null ? DefaultLength
        : SelectionParser.TryNumber(text, out var length) && length is >= 1 and <= MaxLength ? length
        : throw UserError.Usage($"LENGTH: '{text}' is no number of bytes from 1 to {MaxLength}");

    private static int ReadCount(string? text) => text is null ? DefaultCount
        : SelectionParser.TryNumber(text, out var count) && count is >= 1 and <= MaxCount ? (int)count
        : throw UserError.Usage($"COUNT: '{text}' is no number of instructions from 1 to {MaxCount}");

    private static MemoryFormat ReadFormat(string? text) => text switch
    {
        null or "hex" => MemoryFormat.Hex,
        "raw" => MemoryFormat.Raw,
        "u64" => MemoryFormat.U64,
        _ => throw UserError.Usage($"--format: '{text}' is unknown; write hex, raw or u64"),
    };
}
