using System.Globalization;
using System.Security.Cryptography;
using Introspect.Hypervisor.Tests.Building;

namespace Introspect.Hypervisor.Tests.EndToEnd.Linux;

/// <summary>A write of a control register, or of EFER.</summary>
/// <param name="Register">cr0, cr3, cr4 or efer.</param>
/// <param name="Value">What was written.</param>
/// <param name="Rip">The instruction.</param>
internal readonly record struct ControlWrite(string Register, ulong Value, ulong Rip)
{
    public override string ToString() => $"{Register} 0x{Value:x} at 0x{Rip:x}";
}

/// <summary>What another machine saw a kernel write, from a file of this folder.</summary>
internal sealed class ControlWriteReference
{
    private ControlWriteReference(string[] lines)
    {
        Sha256 = Header(lines, "sha256");
        Megabytes = int.Parse(Header(lines, "memory"), CultureInfo.InvariantCulture);
        CommandLine = Header(lines, "cmdline");
        foreach (string[] words in lines.Where(l => !l.StartsWith('#')).Select(l => l.Split(' ')))
        {
            Instructions.Add(ulong.Parse(words[0], CultureInfo.InvariantCulture));
            Writes.Add(new(words[1], Number(words[2]), Number(words[3])));
        }
    }

    /// <summary>The kernel's file.</summary>
    public string Sha256 { get; }

    public int Megabytes { get; }

    public string CommandLine { get; }

    public List<ControlWrite> Writes { get; } = [];

    /// <summary>Instructions before each write; each round of a REP counts.</summary>
    public List<ulong> Instructions { get; } = [];

    /// <summary>The references whose kernels are in the folder that INTROSPECT_LINUX names.</summary>
    public static IReadOnlyList<(string Kernel, ControlWriteReference Reference)> Find()
    {
        Dictionary<string, string> kernels = [];
        foreach (string file in LinuxKernels.Files)
        {
            kernels[Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(file)))] = file;
        }

        return
        [
            .. Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "EndToEnd", "Linux"), "*.txt")
                .Select(f => new ControlWriteReference(File.ReadAllLines(f)))
                .Where(r => kernels.ContainsKey(r.Sha256))
                .Select(r => (kernels[r.Sha256], r)),
        ];
    }

    private static string Header(string[] lines, string name) =>
        lines.Single(l => l.StartsWith($"# {name} ", StringComparison.Ordinal))[(name.Length + 3)..];

    private static ulong Number(string text) => ulong.Parse(text.AsSpan(2), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
}

/// <summary>Needs a kernel that a reference is of, in the folder that INTROSPECT_LINUX names.</summary>
internal sealed class ReferenceKernelFactAttribute : FactAttribute
{
    public ReferenceKernelFactAttribute() =>
        Skip = ControlWriteReference.Find().Count == 0 ? "INTROSPECT_LINUX names no folder with a kernel that there is a reference of" : null;
}
