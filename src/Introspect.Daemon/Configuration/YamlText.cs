using YamlDotNet.Core;
using YamlDotNet.Core.Events;
using YamlDotNet.RepresentationModel;

namespace Introspect.Daemon.Configuration;

/// <summary>
/// Reads YAML that people write into a tree. The library's way there goes down with the stack for every level, and through
/// every alias for a mapping's key: what would end the program or never end is refused before it.
/// </summary>
internal static class YamlText
{
    // Far more than anything that is read here has.
    private const int MaxDepth = 64;

    /// <summary>Reads a text.</summary>
    /// <exception cref="YamlException">It is no YAML, or none that makes sense here; it has the place.</exception>
    public static IList<YamlDocument> Read(string text)
    {
        var parser = new Parser(new StringReader(text));
        try
        {
            Check(parser);
            parser = new Parser(new StringReader(text));
            var stream = new YamlStream();
            stream.Load(parser);
            return stream.Documents;
        }
        catch (Exception e) when (e is InvalidOperationException or ArgumentException)
        {
            // What the library throws on some texts where it means that they are no YAML.
            var after = parser.Current?.End ?? Mark.Empty;
            throw new YamlException(after, after, "what follows here cannot be read", e);
        }
    }

    private static void Check(Parser parser)
    {
        // For what is open: whether it is a mapping, and how many nodes of it there were.
        var open = new Stack<(bool IsMapping, int Nodes)>();

        // How much was open when the outermost key that is no word began.
        int? keyAt = null;
        while (parser.MoveNext())
        {
            var part = parser.Current!;
            if (part is MappingEnd or SequenceEnd)
            {
                open.Pop();
                keyAt = keyAt == open.Count ? null : keyAt;
                continue;
            }

            if (part is not (NodeEvent or AnchorAlias))
            {
                continue;
            }

            var isKey = open.TryPeek(out var around) && around.IsMapping && (around.Nodes & 1) == 0;
            if ((isKey || keyAt is not null) && part is AnchorAlias)
            {
                throw new YamlException(part.Start, part.End, "an alias is no key");
            }

            if (open.TryPop(out around))
            {
                open.Push(around with { Nodes = around.Nodes + 1 });
            }

            if (part is MappingStart or SequenceStart)
            {
                if (open.Count == MaxDepth)
                {
                    throw new YamlException(part.Start, part.End, $"it is nested deeper than {MaxDepth} levels");
                }

                keyAt ??= isKey ? open.Count : null;
                open.Push((part is MappingStart, 0));
            }
        }
    }
}
