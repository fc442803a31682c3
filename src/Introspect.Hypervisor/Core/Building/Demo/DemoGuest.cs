using Iced.Intel;

namespace Introspect.Hypervisor.Core.Building.Demo;

/// <summary>
/// The built-in guest: a small multi-tasking long-mode program, assembled when it is asked for, which does in a
/// known order what a monitor can see. Each round goes through the main task, A, B and, in ring 3, C.
/// </summary>
internal sealed class DemoGuest
{
    private readonly DemoGuestOptions _options;
    private readonly List<DemoEmitter.Expectation> _boot;
    private readonly List<DemoEmitter.Expectation> _round;
    private readonly List<DemoEmitter.Expectation> _end;

    private DemoGuest(DemoGuestOptions options)
    {
        _options = options;
        DemoStrings strings = new();
        DemoEmitter boot = new(new Assembler(32));
        DemoEmitter main = new(new Assembler(64));
        DemoEmitter user = new(new Assembler(64), userMode: true);
        DemoKernel kernel = new(main, strings, options.MirrorToDebugPort);
        DemoTasks tasks = new(main, user, kernel, options);

        _boot = [.. DemoBoot32.Emit(boot), .. DemoBoot64.Emit(main, kernel)];
        (List<DemoEmitter.Expectation> mainRound, _end, DemoMark stepEnd) = tasks.EmitMain();
        _round = [.. mainRound, .. tasks.EmitA(), .. tasks.EmitB(), .. tasks.EmitC()];
        kernel.EmitRoutines(DemoTasks.EmitUserLine);

        byte[] image = new byte[DemoLayout.FileEnd - DemoLayout.Entry32];
        Place(image, DemoLayout.Entry32, DemoLayout.Code64, boot.Assemble(DemoLayout.Entry32));
        byte[] code = main.Assemble(DemoLayout.Code64);
        Place(image, DemoLayout.Code64, DemoLayout.UserCode, code);
        Place(image, DemoLayout.UserCode, DemoLayout.HypercallPage, user.Assemble(DemoLayout.OwnPages));
        Place(image, DemoLayout.Strings, DemoLayout.FileEnd, strings.Content);
        DemoData.Write(image, options);

        List<(string Name, ulong Address)> symbols =
        [
            .. boot.Symbols.Concat(main.Symbols).Concat(user.Symbols).Select(m => (m.Name!, m.Address)),
            .. DemoData.Symbols,
        ];
        Symbols = symbols.ToDictionary(s => s.Name, s => s.Address, StringComparer.Ordinal);
        StepAddresses = InstructionAddresses(code, Symbols["step_here"], stepEnd.Address);
        Image = DemoElf.Write(image, DemoLayout.Entry32, DemoLayout.End, (uint)Symbols["entry32"], symbols);
    }

    /// <summary>The ELF image.</summary>
    public byte[] Image { get; }

    /// <summary>The image's symbols; those of code in ring 3 have the address at which it runs.</summary>
    public IReadOnlyDictionary<string, ulong> Symbols { get; }

    /// <summary>
    /// The addresses of the instructions from <c>step_here</c> to <c>step_end</c>, in the order in which they run.
    /// Who steps from <c>step_here</c> on sees RIP at each but the first.
    /// </summary>
    public IReadOnlyList<ulong> StepAddresses { get; }

    /// <summary>Assembles the guest.</summary>
    public static DemoGuest Build(DemoGuestOptions? options = null) => new(options ?? new DemoGuestOptions());

    /// <summary>Everything that the guest is written to do on a CPU, in order; without end for one that runs for ever.</summary>
    public IEnumerable<DemoAct> ExpectedEvents(DemoCpu? cpu = null)
    {
        DemoCpu on = cpu ?? new DemoCpu();
        foreach (DemoAct act in _boot.SelectMany(s => s(on)))
        {
            yield return act;
        }

        for (long i = 0; _options.Forever || i < Math.Max(1, _options.Rounds); i++)
        {
            foreach (DemoAct act in _round.SelectMany(s => s(on)))
            {
                yield return act;
            }
        }

        foreach (DemoAct act in _end.SelectMany(s => s(on)))
        {
            yield return act;
        }
    }

    /// <summary>What the guest writes to its console; only for one that ends.</summary>
    public string ExpectedConsole(DemoCpu? cpu = null) =>
        string.Concat(ExpectedEvents(cpu).Select(a => a.ConsoleText));

    private static void Place(byte[] image, ulong address, ulong end, ReadOnlySpan<byte> content)
    {
        if ((ulong)content.Length > end - address)
        {
            throw new InvalidOperationException(
                $"the demo guest's part at 0x{address:x} has {content.Length} bytes, but its place {end - address}; move what follows");
        }

        content.CopyTo(image.AsSpan((int)(address - DemoLayout.Entry32)));
    }

    // The sequence has one branch, which is always taken over a ud2.
    private static List<ulong> InstructionAddresses(byte[] code, ulong start, ulong end)
    {
        List<ulong> addresses = [];
        Decoder decoder = Decoder.Create(64, new ByteArrayCodeReader(code, (int)(start - DemoLayout.Code64), (int)(end - start)), start);
        while (decoder.IP < end)
        {
            Instruction instruction = decoder.Decode();
            if (instruction.Code != Code.Ud2)
            {
                addresses.Add(instruction.IP);
            }
        }

        addresses.Add(end);
        return addresses;
    }
}
