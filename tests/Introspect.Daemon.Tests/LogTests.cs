using System.Reflection;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Tests;

public sealed class LogTests
{
    private static readonly List<(string Name, LoggerMessageAttribute Message)> Messages =
        [.. typeof(Log).GetMethods(BindingFlags.Public | BindingFlags.Static | BindingFlags.DeclaredOnly)
            .Select(m => (m.Name, Message: m.GetCustomAttribute<LoggerMessageAttribute>()))
            .Where(m => m.Message is not null).Select(m => (m.Name, m.Message!))];

    [Fact]
    public void no_two_messages_share_an_id()
    {
        Assert.NotEmpty(Messages);
        Assert.Empty(Messages.GroupBy(m => m.Message.EventId).Where(g => g.Count() > 1).Select(g => string.Join(", ", g.Select(m => m.Name))));
    }
}
