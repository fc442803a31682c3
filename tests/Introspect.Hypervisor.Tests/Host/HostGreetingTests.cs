using System.Buffers.Binary;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Tests.Host;

/// <summary>What a client says of a host that does not greet it as one of this release does.</summary>
public sealed class HostGreetingTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("introspect-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public Task A_host_that_goes_before_it_greets_is_just_ending() =>
        AssertRefused(Errno.ENOTCONN, "is just ending: start it again", static _ => { });

    [Fact]
    public Task A_host_that_goes_after_it_greeted_is_just_ending_too() =>
        AssertRefused(Errno.ENOTCONN, "is just ending: start it again", static client => client.Send(Greeting()));

    [Fact]
    public async Task A_host_of_another_version_is_named_with_its_version()
    {
        var greeting = Greeting();
        BinaryPrimitives.WriteUInt32LittleEndian(greeting.AsSpan(8), 99);
        await AssertRefused(Errno.EOPNOTSUPP, "speaks version 99 of its protocol", client => client.Send(greeting));
    }

    [Fact]
    public Task What_greets_in_other_words_is_no_host() =>
        AssertRefused(Errno.EBADMSG, "is no introspect host", static client => client.Send("220 ready"u8));

    private static byte[] Greeting()
    {
        var greeting = new byte[HostProtocol.GreetingBytes];
        HostProtocol.WriteGreeting(greeting, 0);
        return greeting;
    }

    private async Task AssertRefused(Errno error, string why, Action<UnixSocket> greet)
    {
        var path = Path.Combine(_folder.FullName, "host");
        using var listener = UnixSocket.Listen(path, backlog: 1);
        var host = Task.Run(() =>
        {
            using var client = listener.Accept()!;
            greet(client);
        });
        var refused = Assert.Throws<HypervisorException>(() => new HostClient(path));
        Assert.Equal(error, refused.Error);
        Assert.Contains(why, refused.Message, StringComparison.Ordinal);
        await host;
    }
}
