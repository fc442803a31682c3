using System.Text;

namespace Introspect.Hypervisor.Core.Building.Demo;

/// <summary>The texts of the demo guest, each at an address in the page of strings.</summary>
internal sealed class DemoStrings
{
    private readonly List<byte> _bytes = [];
    private readonly Dictionary<string, ulong> _addresses = new(StringComparer.Ordinal);

    /// <summary>The page's content so far.</summary>
    public ReadOnlySpan<byte> Content => _bytes.ToArray();

    /// <summary>A text's address and length; the same text twice is there once.</summary>
    public (ulong Address, int Length) Add(string text)
    {
        if (!_addresses.TryGetValue(text, out ulong address))
        {
            address = DemoLayout.Strings + (ulong)_bytes.Count;
            _addresses.Add(text, address);
            _bytes.AddRange(Encoding.ASCII.GetBytes(text));
        }

        return (address, text.Length);
    }
}
