using System.Globalization;

namespace Introspect.Daemon.Sinks.Syslog;

/// <summary>How messages travel to a syslog server.</summary>
internal enum SyslogTransport
{
    /// <summary>Datagrams to a unix socket of this machine.</summary>
    Unix,

    /// <summary>RFC 5426.</summary>
    Udp,

    /// <summary>RFC 6587, with each message's length before it.</summary>
    Tcp,
}

/// <summary>Where a syslog server listens.</summary>
/// <param name="Transport">How messages travel.</param>
/// <param name="Host">Name or address; the path of a unix socket.</param>
/// <param name="Port">Port; 0 with a unix socket.</param>
internal sealed record SyslogAddress(SyslogTransport Transport, string Host, int Port)
{
    private const int UdpPort = 514;
    private const int TcpPort = 601;

    /// <summary>True of an address that asks for TLS, whatever people call that.</summary>
    public static bool NeedsTls(string text) =>
        text.Split("://") is [var scheme, _] && (scheme.Contains("tls", StringComparison.OrdinalIgnoreCase) || scheme.Contains("ssl", StringComparison.OrdinalIgnoreCase) || scheme.Equals("syslogs", StringComparison.OrdinalIgnoreCase));

    /// <summary>Reads <c>unix:PATH</c>, a path, <c>udp://HOST[:PORT]</c> or <c>tcp://HOST[:PORT]</c>.</summary>
    /// <returns>Null when it is none of these.</returns>
    public static SyslogAddress? Parse(string text)
    {
        if (text.StartsWith("unix:", StringComparison.Ordinal))
        {
            text = text["unix:".Length..];
        }

        if (text.StartsWith('/'))
        {
            return new(SyslogTransport.Unix, text, 0);
        }

        var transport = text.StartsWith("udp://", StringComparison.Ordinal) ? SyslogTransport.Udp
            : text.StartsWith("tcp://", StringComparison.Ordinal) ? SyslogTransport.Tcp
            : SyslogTransport.Unix;
        if (transport == SyslogTransport.Unix || !Uri.TryCreate(text, UriKind.Absolute, out var uri) || uri.Host.Length == 0 || uri.PathAndQuery.Trim('/').Length != 0 || uri.UserInfo.Length != 0)
        {
            return null;
        }

        var port = uri.Port > 0 ? uri.Port : transport == SyslogTransport.Udp ? UdpPort : TcpPort;
        return new(transport, uri.DnsSafeHost, port);
    }

    /// <inheritdoc/>
    public override string ToString() => Transport == SyslogTransport.Unix
        ? $"unix:{Host}"
        : string.Create(CultureInfo.InvariantCulture, $"{Transport.ToString().ToLowerInvariant()}://{(Host.Contains(':', StringComparison.Ordinal) ? $"[{Host}]" : Host)}:{Port}");
}
