using Iced.Intel;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.XenLab.Guest;

/// <summary>How the trace guest is built.</summary>
/// <param name="Rounds">Rounds until it powers itself off; 0 for one that never does.</param>
/// <param name="Load">Each round is CPUID and nothing else: what the events per second are measured with.</param>
internal sealed record TraceGuestOptions(int Rounds = 3, bool Load = false);

/// <summary>
/// A guest that does everything a monitor can see on real Xen and on the core alike, and nothing in which the two may
/// differ: it never looks at what CPUID says, at time, or at memory that it did not write. It boots by PVH, makes one
/// round of acts after the other, and powers off.
/// </summary>
internal sealed class TraceGuest
{
    private TraceGuest(TraceGuestOptions options)
    {
        var boot = new Assembler(32);
        var main = new Assembler(64);
        var user = new Assembler(64);
        var handlers = new TraceHandlers(main);
        var acts = new TraceActs(main, options);

        TraceBoot.Emit32(boot);
        TraceBoot.Emit64(main);
        acts.Emit();
        handlers.Emit();
        TraceActs.EmitUser(user);

        var image = new byte[TraceLayout.FileEnd - TraceLayout.Entry32];
        Assemble(boot, image, TraceLayout.Entry32, TraceLayout.Code64);
        var code = Assemble(main, image, TraceLayout.Code64, TraceLayout.UserCode);
        Assemble(user, image, TraceLayout.UserCode, TraceLayout.HypercallPage);
        TraceData.Write(image, options, vector => code.GetLabelRIP(handlers.Of(vector)));
        List<(string Name, ulong Address)> symbols =
        [
            ("entry32", TraceLayout.Entry32),
            ("entry64", TraceLayout.Code64),
            ("round", code.GetLabelRIP(acts.Round)),
            ("user", TraceLayout.UserCode),
            ("hypercall_page", TraceLayout.HypercallPage),
            ("counter", TraceLayout.Counter),
            ("exceptions", TraceLayout.Exceptions),
        ];
        Image = DemoElf.Write(image, TraceLayout.Entry32, TraceLayout.End, (uint)TraceLayout.Entry32, symbols);
    }

    /// <summary>The ELF image.</summary>
    public byte[] Image { get; }

    /// <summary>Assembles the guest.</summary>
    public static TraceGuest Build(TraceGuestOptions? options = null) => new(options ?? new TraceGuestOptions());

    private static AssemblerResult Assemble(Assembler assembler, byte[] image, ulong address, ulong end)
    {
        using var code = new MemoryStream();
        var result = assembler.Assemble(new StreamCodeWriter(code), address, BlockEncoderOptions.ReturnNewInstructionOffsets);
        if ((ulong)code.Length > end - address)
        {
            throw new InvalidOperationException($"the trace guest's part at 0x{address:x} has {code.Length} bytes, but its place {end - address}");
        }

        code.ToArray().CopyTo(image.AsSpan((int)(address - TraceLayout.Entry32)));
        return result;
    }
}
