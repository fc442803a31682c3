namespace Introspect.Daemon.Guests;

/// <summary>Where something stands in a configuration, counted from 1.</summary>
/// <param name="File">The file, or what stands in its place.</param>
/// <param name="Line">Line.</param>
/// <param name="Column">Column, in characters.</param>
internal readonly record struct XlPlace(string File, int Line, int Column)
{
    /// <inheritdoc/>
    public override string ToString() => $"{File}:{Line}:{Column}";
}

/// <summary>A value of a configuration.</summary>
/// <param name="Place">Where it begins.</param>
internal abstract record XlValue(XlPlace Place);

/// <summary>A string or a number, which are the same until somebody asks for one of them.</summary>
/// <param name="Text">What it says, without quotes and escapes.</param>
/// <param name="IsSum">Something was added to it (<c>+=</c>).</param>
/// <param name="Place">Where it begins.</param>
internal sealed record XlAtom(string Text, bool IsSum, XlPlace Place) : XlValue(Place);

/// <summary>A list.</summary>
/// <param name="Items">Its values, which may be lists again.</param>
/// <param name="Place">Where it begins.</param>
internal sealed record XlList(IReadOnlyList<XlValue> Items, XlPlace Place) : XlValue(Place);

/// <summary>A key with its value.</summary>
/// <param name="Key">Key.</param>
/// <param name="Value">Value.</param>
/// <param name="Place">Where the key stands.</param>
internal sealed record XlSetting(string Key, XlValue Value, XlPlace Place);
