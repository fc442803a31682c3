using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;

namespace Introspect.Daemon.Sinks.Otlp;

/// <summary>How to speak to a collector.</summary>
internal enum OtlpProtocol
{
    /// <summary>Protocol Buffers over HTTP/1.1, port 4318.</summary>
    Http,

    /// <summary>gRPC over HTTP/2, port 4317.</summary>
    Grpc,
}

/// <summary>A collector of the OpenTelemetry protocol.</summary>
/// <param name="Endpoint">Its base address.</param>
/// <param name="Protocol">How to speak to it.</param>
/// <param name="Headers">Headers of each request, <c>NAME=VALUE</c> with commas between them; null: none.</param>
/// <param name="Timeout">How long a request may take.</param>
/// <param name="Logs">Events go there as log records.</param>
/// <param name="Metrics">Metrics go there, too.</param>
/// <param name="MetricsInterval">How often metrics go.</param>
internal sealed record OtlpOptions(Uri Endpoint, OtlpProtocol Protocol, string? Headers, TimeSpan Timeout, bool Logs, bool Metrics, TimeSpan MetricsInterval)
{
    /// <summary>What the service does goes there as spans, too.</summary>
    public bool Traces { get; init; } = true;
}

/// <summary>The collector cannot take the request whenever it comes: it is no use to send it again.</summary>
internal sealed class OtlpRefusedException(string message) : Exception(message);

/// <summary>Sends log records to a collector, one request at a time.</summary>
internal sealed class OtlpClient : IDisposable
{
    private const string HttpPath = "v1/logs";
    private const string GrpcPath = "opentelemetry.proto.collector.logs.v1.LogsService/Export";
    private const int GrpcPrefix = 5;

    // A collector's answer is a few bytes; what is longer is not looked at.
    private const int LongestAnswer = 1 << 16;

    // CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS: to be tried again.
    private static readonly int[] RetriedStatus = [1, 4, 8, 10, 11, 14, 15];

    private readonly HttpClient _client;
    private readonly OtlpOptions _options;
    private readonly Uri _address;

    /// <summary>Makes a client; nothing is sent yet.</summary>
    public OtlpClient(OtlpOptions options)
    {
        _options = options;
        var root = options.Endpoint.AbsoluteUri.EndsWith('/') ? options.Endpoint : new Uri(options.Endpoint.AbsoluteUri + "/");
        _address = new(root, options.Protocol == OtlpProtocol.Grpc ? GrpcPath : HttpPath);
        _client = new(new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false, PooledConnectionLifetime = TimeSpan.FromMinutes(5) })
        {
            Timeout = options.Timeout,
            MaxResponseContentBufferSize = LongestAnswer,
        };
        _client.DefaultRequestHeaders.UserAgent.Add(new ProductInfoHeaderValue("introspect", ProgramInfo.Version));
        foreach (var (name, value) in Headers(options.Headers))
        {
            _client.DefaultRequestHeaders.TryAddWithoutValidation(name, value);
        }
    }

    /// <summary>Reads <c>NAME=VALUE,NAME=VALUE</c>.</summary>
    public static IEnumerable<(string Name, string Value)> Headers(string? text) =>
        (text ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
            .Select(pair => pair.Split('=', 2, StringSplitOptions.TrimEntries))
            .Select(pair => (pair[0], pair.Length == 2 ? pair[1] : ""));

    /// <summary>Sends a request and waits for the answer.</summary>
    /// <returns>How many records the collector did not want.</returns>
    /// <exception cref="IOException">Nobody answered, or not now.</exception>
    /// <exception cref="OtlpRefusedException">It will never be taken.</exception>
    public long Send(ReadOnlySpan<byte> request)
    {
        try
        {
            // The sink's thread is its own: it may wait.
            return SendAsync(Frame(request)).GetAwaiter().GetResult();
        }
        catch (HttpRequestException e)
        {
            throw new IOException($"{_options.Endpoint}: {e.Message}", e);
        }
        catch (OperationCanceledException e)
        {
            throw new IOException(string.Create(CultureInfo.InvariantCulture, $"{_options.Endpoint}: no answer within {_options.Timeout.TotalSeconds:0.#} s"), e);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _client.Dispose();

    // gRPC: one byte for 'not compressed' and the length.
    private byte[] Frame(ReadOnlySpan<byte> request)
    {
        if (_options.Protocol == OtlpProtocol.Http)
        {
            return request.ToArray();
        }

        var framed = new byte[GrpcPrefix + request.Length];
        BinaryPrimitives.WriteInt32BigEndian(framed.AsSpan(1), request.Length);
        request.CopyTo(framed.AsSpan(GrpcPrefix));
        return framed;
    }

    private async Task<long> SendAsync(byte[] body)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, _address) { Content = new ByteArrayContent(body) };
        if (_options.Protocol == OtlpProtocol.Grpc)
        {
            request.Version = HttpVersion.Version20;
            request.VersionPolicy = HttpVersionPolicy.RequestVersionExact;
            request.Headers.TE.Add(new("trailers"));
            request.Content.Headers.ContentType = new("application/grpc");
        }
        else
        {
            request.Content.Headers.ContentType = new("application/x-protobuf");
        }

        using var response = await _client.SendAsync(request).ConfigureAwait(false);
        var answer = await response.Content.ReadAsByteArrayAsync().ConfigureAwait(false);
        if (!response.IsSuccessStatusCode)
        {
            var why = string.Create(CultureInfo.InvariantCulture, $"{_options.Endpoint}: HTTP {(int)response.StatusCode} {response.ReasonPhrase}");
            throw response.StatusCode is HttpStatusCode.TooManyRequests or HttpStatusCode.BadGateway or HttpStatusCode.ServiceUnavailable or HttpStatusCode.GatewayTimeout
                ? new IOException(why)
                : new OtlpRefusedException(why);
        }

        if (_options.Protocol == OtlpProtocol.Http)
        {
            return OtlpAnswer.Rejected(answer);
        }

        CheckStatus(response);
        return answer.Length < GrpcPrefix ? 0 : OtlpAnswer.Rejected(answer.AsSpan(GrpcPrefix));
    }

    // The status is behind the body, or in the head where there is no body.
    private void CheckStatus(HttpResponseMessage response)
    {
        var status = Value(response.TrailingHeaders, "grpc-status") ?? Value(response.Headers, "grpc-status");
        if (status == "0")
        {
            return;
        }

        var message = Uri.UnescapeDataString(Value(response.TrailingHeaders, "grpc-message") ?? Value(response.Headers, "grpc-message") ?? "");
        var why = $"{_options.Endpoint}: gRPC status {status ?? "missing"} {message}".TrimEnd();
        throw int.TryParse(status, NumberStyles.None, CultureInfo.InvariantCulture, out var code) && !RetriedStatus.Contains(code)
            ? new OtlpRefusedException(why)
            : new IOException(why);
    }

    private static string? Value(HttpResponseHeaders headers, string name) => headers.TryGetValues(name, out var values) ? values.FirstOrDefault() : null;
}
