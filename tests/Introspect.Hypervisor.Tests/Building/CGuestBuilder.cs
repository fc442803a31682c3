using System.Security.Cryptography;

namespace Introspect.Hypervisor.Tests.Building;

/// <summary>Kinds of the guest in C.</summary>
public enum CGuestKind
{
    /// <summary>Long mode, a 64-bit ELF image.</summary>
    LongMode,

    /// <summary>Long mode, the same in a 32-bit ELF image for x86-64.</summary>
    LongModeInElf32,

    /// <summary>Protected mode with paging, a 32-bit ELF image for i386.</summary>
    ProtectedMode,
}

/// <summary>Builds the guest in C from the sources beside this file, where gcc is installed.</summary>
internal static class CGuestBuilder
{
    public const string Compiler = "gcc";

    private const int BufferSize = 10_000;
    private const int ValueCount = 2_000;

    private static readonly string[] Sources = ["start.S", "main.c", "platform.c", "text.c", "sha256.c", "numbers.c"];

    private static readonly string[] Flags =
    [
        "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g0", "-ffreestanding", "-fno-builtin", "-fno-pic", "-fno-pie", "-no-pie", "-static", "-nostdlib",
        "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns", "-fcf-protection=none",
        "-mgeneral-regs-only", "-mno-sse", "-Wl,--build-id=none", "-Wl,-z,max-page-size=4096", "-Wl,-z,noexecstack",
    ];

    /// <summary>Builds the guest with several vCPUs.</summary>
    public static byte[] BuildSmp()
    {
        string common = Path.Combine(AppContext.BaseDirectory, "Building", "CGuest");
        string sources = Path.Combine(AppContext.BaseDirectory, "Smp", "Guest");
        DirectoryInfo directory = Directory.CreateTempSubdirectory("introspect-smp-");
        try
        {
            string image = Path.Combine(directory.FullName, "guest.elf");
            Run(Compiler,
            [
                .. Flags, .. ModeFlags(CGuestKind.LongMode), "-O2", "-I", common, "-T", Path.Combine(common, "guest.lds"), "-o", image,
                .. new[] { "start.S", "platform.c", "text.c" }.Select(s => Path.Combine(common, s)),
                .. new[] { "smp.c", "interrupts.c", "locks.c", "memory.c", "events.c" }.Select(s => Path.Combine(sources, s)),
            ]);
            return File.ReadAllBytes(image);
        }
        finally
        {
            directory.Delete(true);
        }
    }

    /// <summary>Builds an image at an optimisation level of gcc's (0–3), one that asks for its symbols if so wished.</summary>
    public static byte[] Build(CGuestKind kind, int optimisation, bool wantsSymbols = false)
    {
        string sources = Path.Combine(AppContext.BaseDirectory, "Building", "CGuest");
        DirectoryInfo directory = Directory.CreateTempSubdirectory("introspect-cguest-");
        try
        {
            string image = Path.Combine(directory.FullName, "guest.elf");
            Run(Compiler,
            [
                .. Flags, .. ModeFlags(kind), $"-O{optimisation}", .. wantsSymbols ? ["-DBSD_SYMTAB"] : Array.Empty<string>(), "-T", Path.Combine(sources, "guest.lds"),
                "-o", image, .. Sources.Select(s => Path.Combine(sources, s)),
            ]);
            if (kind == CGuestKind.LongModeInElf32)
            {
                Run("objcopy", ["-O", "elf32-x86-64", image]);
            }

            return File.ReadAllBytes(image);
        }
        finally
        {
            directory.Delete(true);
        }
    }

    /// <summary>What the guest prints, with what can be computed computed here.</summary>
    public static string ExpectedConsole(CGuestKind kind)
    {
        uint state = 1;
        byte[] buffer = [.. Enumerable.Range(0, BufferSize).Select(_ => (byte)(Next(ref state) >> 24))];
        state = 7;
        uint[] values = [.. Enumerable.Range(0, ValueCount).Select(_ => Next(ref state)).Order()];
        return $"""
            C guest, {(kind == CGuestKind.ProtectedMode ? 32 : 64)} bits
            sha256 of abc: ok
            sha256 of the buffer: {Convert.ToHexStringLower(SHA256.HashData(buffer))}
            quicksort: ok
            median: {values[ValueCount / 2]}
            strings: ok
            fibonacci of 18: 2584
            ackermann of 2, 9: 21
            arithmetic: ok
            result: PASS

            """;
    }

    private static string[] ModeFlags(CGuestKind kind) => kind == CGuestKind.ProtectedMode
        ? ["-m32", "-march=i686"]
        : ["-m64", "-mno-red-zone", "-mcmodel=small"];

    private static uint Next(ref uint state) => state = (state * 1664525) + 1013904223;

    private static void Run(string tool, IEnumerable<string> arguments)
    {
        (int exitCode, string output) = ExternalTool.Run(tool, arguments);
        Assert.True(exitCode == 0, $"{tool}: {output}");
    }
}
