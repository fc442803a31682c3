using System.Diagnostics;
using System.Runtime.InteropServices;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Linux;
using Introspect.Rules.Handlers;

namespace Introspect.Rules.Plugins.Isolation;

/// <summary>
/// A domain's handler in a plugin's process, as the pump sees it. Away while there is no process; a process that ends in
/// the middle of an event is an exception, which the fail policy answers for, and so is one that does not answer.
/// </summary>
internal sealed class IsolatedHandler(IsolatedPlugin plugin, int id, DomainInfo domain, SubscriptionWire subscription, PluginChannel first)
    : PluginHandler(plugin.Entry.Name), IAbsentHandler
{
    private const int ReadDataOffset = 60;
    private const int InstructionOffset = 56;

    private readonly TimeSpan _patience = plugin.Entry.AnswerTimeout;
    private PluginChannel? _channel = first;

    /// <summary>Number of the handler in the plugin's process.</summary>
    public int Id => id;

    /// <summary>The domain.</summary>
    public DomainInfo Domain => domain;

    /// <summary>What it asked for.</summary>
    public SubscriptionWire Subscription => subscription;

    /// <inheritdoc/>
    public bool IsAway => Volatile.Read(ref _channel) is null;

    /// <inheritdoc/>
    public override void Subscribe(SubscriptionBuilder subscription) => Subscription.ReplayTo(subscription);

    /// <inheritdoc/>
    public override Verdict Handle(ref readonly VmEvent request, ref HandlerContext context)
    {
        if (Volatile.Read(ref _channel) is not { } channel || !channel.TryEnter())
        {
            throw new PluginException("its process is being started anew");
        }

        try
        {
            ref var message = ref CallLayout.As<EventMessage>(channel.Box.Outgoing);
            message.Kind = CallKind.Event;
            message.IsDecided = context.IsDecided ? (byte)1 : (byte)0;
            var decided = context.DecidedVerdict;
            (message.DecidedDecision, message.DecidedEffects, message.DecidedView) = ((byte)decided.Decision, (byte)decided.Effects, decided.View);
            message.TimeTicks = context.Time.Ticks;
            message.Event = request;
            channel.Box.Post();
            WaitForAnswer(channel, context.Domain);
            return TakeAnswer(channel, ref context);
        }
        catch (ProcessFailure failure)
        {
            // At once: the next event is not to find out anew.
            Interlocked.CompareExchange(ref _channel, null, channel);
            channel.Close();
            if (failure.KillFor is { } why)
            {
                channel.Process.Kill(why);
            }

            throw new PluginException(failure.Message, failure);
        }
        finally
        {
            channel.Leave();
        }
    }

    /// <summary>A process is there.</summary>
    public void Use(PluginChannel channel) => Interlocked.Exchange(ref _channel, channel)?.Close();

    /// <summary>The process is gone.</summary>
    public void Lose() => Interlocked.Exchange(ref _channel, null)?.Close();

    /// <inheritdoc/>
    public override void Dispose() => plugin.Remove(this);

    private void WaitForAnswer(PluginChannel channel, IDomain asked)
    {
        var box = channel.Box;
        var started = Stopwatch.GetTimestamp();
        var left = _patience;
        while (true)
        {
            WaitResult result;
            try
            {
                result = box.Wait(left, channel.Process.Lifeline);
            }
            catch (ObjectDisposedException)
            {
                result = WaitResult.HungUp;
            }

            if (result == WaitResult.Signalled)
            {
                switch ((CallKind)MemoryMarshal.Read<uint>(box.Incoming))
                {
                    case CallKind.Answer:
                        return;
                    case CallKind.Ask:
                        DomainCalls.Serve(asked, box.Incoming, box.Outgoing);
                        box.Post();
                        break;
                    default:
                        throw new ProcessFailure("its process does not keep to the protocol, and is killed", "it wrote what is no message");
                }
            }
            else if (result == WaitResult.HungUp || channel.IsClosed)
            {
                throw new ProcessFailure("its process ended in the middle of the event", null);
            }

            left = _patience - Stopwatch.GetElapsedTime(started);
            if (left <= TimeSpan.Zero)
            {
                plugin.CountHang();
                throw new ProcessFailure(FormattableString.Invariant($"its process did not answer in {_patience.TotalMilliseconds:0.###} ms, and is killed"), "it did not answer an event");
            }
        }
    }

    private static Verdict TakeAnswer(PluginChannel channel, ref HandlerContext context)
    {
        var incoming = channel.Box.Incoming;
        ref readonly var answer = ref MemoryMarshal.AsRef<AnswerMessage>(incoming);

        // Each once: the other side may go on writing.
        var (text, decision, effects, view, payload, hasTrap) = (answer.Text, answer.Decision, answer.Effects, answer.View, answer.Payload, answer.HasTrap);
        if (text != 0)
        {
            throw new PluginException(CallLayout.ReadText(incoming, text));
        }

        if (!Verdict.TryMake(decision, effects, view, out var verdict))
        {
            throw new ProcessFailure("its process gave a verdict that there is not, and is killed", "it gave a verdict that there is not");
        }

        if (hasTrap != 0)
        {
            var trap = answer.Trap;
            context.Trap = trap.ToTrap();
        }

        if (payload != (byte)ResponsePayload.None)
        {
            var response = answer.Response;
            var bytes = MemoryMarshal.AsBytes(MemoryMarshal.CreateReadOnlySpan(in response, 1));
            switch ((ResponsePayload)payload)
            {
                case ResponsePayload.Registers:
                    context.Registers = response.Registers;
                    break;
                case ResponsePayload.ReadData:
                    context.SetEmulationReadData(bytes.Slice(ReadDataOffset, (int)Math.Min(response.EmulReadSize, VmEvent.MaxEmulReadBytes)));
                    break;
                default:
                    context.SetEmulationInstruction(bytes.Slice(InstructionOffset, VmEvent.MaxEmulInsnBytes));
                    break;
            }
        }

        return verdict;
    }

    // The process is of no use any more.
    private sealed class ProcessFailure(string message, string? killFor) : Exception(message)
    {
        public string? KillFor => killFor;
    }
}
