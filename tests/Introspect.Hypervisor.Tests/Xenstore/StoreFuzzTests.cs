using System.Text;
using Introspect.Hypervisor.Core.Xenstore;

namespace Introspect.Hypervisor.Tests.Xenstore;

/// <summary>Guests that send what comes to their minds, always the same. INTROSPECT_FUZZ_INPUTS makes it more.</summary>
public sealed class StoreFuzzTests
{
    private static readonly string[] Words =
    [
        "data", "data/a", "data/b/c", "/local/domain/5/data", "/local/domain/6/data", "control/shutdown", "/", "", "name", "@releaseDomain", "@",
        "n5", "r6", "b0", "T", "F", "0", "1", "4294967296", "-1", "t", "data//x", "/vm", "\u00ff\u0001", new('p', 3100), new('v', 1990),
    ];

    private static int Rounds => int.TryParse(Environment.GetEnvironmentVariable("INTROSPECT_FUZZ_INPUTS"), out var rounds) ? rounds : 4000;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Nothing_that_a_guest_writes_into_its_page_harms_the_store_or_another_guest(int seed)
    {
        var random = new Random(seed);
        var bench = new StoreBench();
        StoreGuest[] hostile = [bench.Guest(5), bench.Guest(6)];
        var honest = bench.Guest(7);
        Assert.Equal("OK", honest.Ask(StoreMessage.Write, "data\0mine"));
        for (var round = 0; round < Rounds; round++)
        {
            var guest = hostile[random.Next(hostile.Length)];
            switch (random.Next(12))
            {
                case 0:
                    guest[StoreGuest.RequestConsumer + (4 * random.Next(7))] = random.Next(3) == 0 ? (uint)random.NextInt64() : (uint)random.Next(3000);
                    break;
                case 1:
                    random.NextBytes(guest.Page.Slice(random.Next(2048), random.Next(64)));
                    guest[StoreGuest.RequestProducer] += (uint)random.Next(64);
                    break;
                case 2:
                    guest[StoreGuest.Connection] = 1;
                    break;
                case 3:
                    guest[StoreGuest.ResponseConsumer] = guest[StoreGuest.ResponseProducer];
                    break;
                default:
                    Put(guest, Message(random));
                    break;
            }

            guest.Notify();
        }

        Assert.Equal("mine", honest.Ask(StoreMessage.Read, "data\0"));
        Assert.Equal("OK", honest.Ask(StoreMessage.Write, "data/more\0v"));
        foreach (var guest in hostile)
        {
            guest[StoreGuest.Connection] = 1;
            guest.Notify();
            Assert.InRange(bench.Store.Save(guest.Domain)!.Length, 1, 4 << 20);
            bench.Store.Release(guest.Domain);
        }

        Assert.Equal(["7"], bench.Store.List("/local/domain"));
    }

    [Fact]
    public void No_state_that_was_altered_is_taken_for_more_than_it_is()
    {
        var random = new Random(4);
        var bench = new StoreBench();
        var guest = bench.Guest(5);
        guest.Ask(StoreMessage.Watch, "data\0t\0");
        guest.Ask(StoreMessage.TransactionStart, "\0");
        guest.Send(StoreGuest.Header(2, 1, 0, 500));
        var saved = bench.Store.Save(5)!;
        Assert.True(StoreState.TryParse(saved, out _));
        for (var length = 0; length < saved.Length; length++)
        {
            Assert.False(StoreState.TryParse(saved.AsSpan(0, length), out _));
        }

        for (var round = 0; round < Rounds / 4; round++)
        {
            var altered = (byte[])saved.Clone();
            for (var n = random.Next(1, 4); n > 0; n--)
            {
                altered[random.Next(altered.Length)] = (byte)random.Next(256);
            }

            if (StoreState.TryParse(altered, out var state))
            {
                var other = new StoreGuest(new XenStore(), 9, "restored", state);
                other.Notify();
            }
        }
    }

    private static byte[] Message(Random random)
    {
        var payload = new StringBuilder();
        for (var n = random.Next(5); n > 0; n--)
        {
            payload.Append(Words[random.Next(Words.Length)]).Append(random.Next(8) == 0 ? "" : "\0");
        }

        var bytes = Encoding.Latin1.GetBytes(payload.ToString());
        bytes = bytes[..Math.Min(bytes.Length, StoreWire.MostPayload)];
        return [.. StoreGuest.Header((uint)random.Next(25), (uint)random.Next(), (uint)(random.Next(3) == 0 ? random.Next(12) : 0), (uint)bytes.Length), .. bytes];
    }

    // As far as the ring takes it: the rest may come as something else.
    private static void Put(StoreGuest guest, byte[] message)
    {
        foreach (var part in message.Chunk(256))
        {
            if (guest[StoreGuest.RequestProducer] - guest[StoreGuest.RequestConsumer] > 700)
            {
                return;
            }

            foreach (var b in part)
            {
                guest.Page[(int)(guest[StoreGuest.RequestProducer] % 1024)] = b;
                guest[StoreGuest.RequestProducer]++;
            }

            guest.Notify();
        }
    }
}
