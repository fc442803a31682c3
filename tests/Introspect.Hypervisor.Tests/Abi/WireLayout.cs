using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Tests.Abi;

/// <summary>A wire structure as the table has it.</summary>
internal sealed record WireLayout(string Name, int Size, string? CType, IReadOnlyList<WireField> Fields)
{
    public static IReadOnlyList<WireLayout> All { get; } =
        [.. Parse(WireLayoutTable.VmEvents), .. Parse(WireLayoutTable.Toolstack), .. Parse(WireLayoutTable.Guest)];

    public Type Type => typeof(VmEvent).Assembly.GetType($"Introspect.Hypervisor.Abi.{Name}", throwOnError: true)!;

    public static IEnumerable<FieldInfo> PublicFields(Type type) => type.GetFields(BindingFlags.Public | BindingFlags.Instance);

    private static IEnumerable<WireLayout> Parse(string table)
    {
        WireLayout? current = null;
        foreach (var line in table.Split('\n'))
        {
            if (!line.StartsWith(' '))
            {
                if (current is not null)
                {
                    yield return current;
                }

                var halves = line.Split(" = ");
                var head = halves[0].Split(' ');
                current = new(head[0], int.Parse(head[1], CultureInfo.InvariantCulture), halves[1] == "-" ? null : halves[1], []);
                continue;
            }

            current = current! with { Fields = [.. current.Fields, .. line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(WireField.Parse)] };
        }

        yield return current!;
    }
}

/// <summary>A field as the table has it; no C path where the headers have no such name.</summary>
internal sealed record WireField(string Name, int Offset, string? CPath)
{
    public static WireField Parse(string text)
    {
        var at = text.IndexOf('@', StringComparison.Ordinal);
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        var name = text[..at];
        var offset = int.Parse(colon < 0 ? text[(at + 1)..] : text[(at + 1)..colon], CultureInfo.InvariantCulture);
        var path = colon < 0 ? name.ToLowerInvariant() : text[(colon + 1)..];
        return new(name, offset, path == "-" ? null : path);
    }

    public int ActualOffset(Type type) => (int)Marshal.OffsetOf(type, Name);
}
