using System.Runtime.InteropServices;
using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;

namespace Introspect.Rules.Tests.Plugins;

/// <summary>The place in shared memory by which plugins are asked, with both ends in this process.</summary>
public sealed class CallBoxTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    [Fact]
    public void Many_messages_each_have_their_answer_whether_the_ends_spin_or_sleep()
    {
        const int Messages = 20_000;
        var (caller, parts) = CallBox.Create("test");
        using (caller)
        {
            var callee = CallBox.Adopt(parts);
            var thread = new Thread(() =>
            {
                for (var i = 0; i < Messages; i++)
                {
                    Await(callee);
                    var asked = MemoryMarshal.Read<ulong>(callee.Incoming);
                    if (asked % 1000 == 0)
                    {
                        // The caller sleeps.
                        Thread.Sleep(2);
                    }

                    MemoryMarshal.Write(callee.Outgoing, ~asked);
                    callee.Post();
                }
            });
            thread.Start();
            for (var i = 1ul; i <= Messages; i++)
            {
                if (i % 1111 == 0)
                {
                    // The callee sleeps.
                    Thread.Sleep(2);
                }

                MemoryMarshal.Write(caller.Outgoing, in i);
                caller.Post();
                Await(caller);
                Assert.Equal(~i, MemoryMarshal.Read<ulong>(caller.Incoming));
            }

            thread.Join();
            callee.Dispose();
        }
    }

    [Fact]
    public void A_whole_message_arrives_each_way()
    {
        var (caller, parts) = CallBox.Create("test");
        using (caller)
        using (var callee = CallBox.Adopt(parts))
        {
            new Random(1).NextBytes(caller.Outgoing);
            caller.Post();
            Await(callee);
            Assert.True(callee.Incoming.SequenceEqual(caller.Outgoing));
            new Random(2).NextBytes(callee.Outgoing);
            callee.Post();
            Await(caller);
            Assert.True(caller.Incoming.SequenceEqual(callee.Outgoing));
        }
    }

    [Fact]
    public void A_wait_ends_by_time_by_a_wake_and_by_a_hang_up()
    {
        var (caller, parts) = CallBox.Create("test");
        using (caller)
        using (parts)
        {
            Assert.Equal(WaitResult.NotSignalled, caller.Wait(TimeSpan.FromMilliseconds(1), lifeline: null));
            caller.Wake();
            Assert.Equal(WaitResult.NotSignalled, caller.Wait(Timeout.InfiniteTimeSpan, lifeline: null));
            var (mine, other) = UnixSocket.Pair();
            using (mine)
            {
                other.Dispose();
                Assert.Equal(WaitResult.HungUp, caller.Wait(Timeout.InfiniteTimeSpan, mine.Handle));
            }
        }
    }

    private static void Await(CallBox box)
    {
        while (box.Wait(Patience, lifeline: null) != WaitResult.Signalled)
        {
            // A signal may be left over.
        }
    }
}
