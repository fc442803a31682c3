using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Linux;

/// <summary>A library of the system that may not be there.</summary>
/// <param name="Soname">The name under which the dynamic linker finds it.</param>
/// <param name="Package">The package that has it (Debian's name).</param>
internal sealed record SystemLibrary(string Soname, string Package)
{
    /// <summary>Whether it is there. What was found stays open: its functions are called next.</summary>
    public bool IsInstalled => NativeLibrary.TryLoad(Soname, out _);

    /// <summary>One line for who lacks it.</summary>
    public string Missing => $"{Soname} is missing; install the package {Package} (Debian's name)";
}
