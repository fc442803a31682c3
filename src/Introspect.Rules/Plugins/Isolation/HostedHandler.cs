using Introspect.Hypervisor;
using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;
using Introspect.Rules.Handlers;

namespace Introspect.Rules.Plugins.Isolation;

/// <summary>A handler in a plugin's process: a thread that takes events from a call box and answers.</summary>
internal sealed class HostedHandler
{
    private readonly IEventHandler _handler;
    private readonly CallBox _box;
    private readonly RemoteDomain _domain;
    private readonly Thread _thread;
    private bool _isClosing;

    public HostedHandler(string name, DomainId domain, IEventHandler handler, CallBox box)
    {
        (_handler, _box, _domain) = (handler, box, new(box, domain));
        _thread = new Thread(Run) { IsBackground = true, Name = $"{name} {domain}" };
        _thread.Start();
    }

    /// <summary>Lets the handler end after the event that it is at, and waits for that as long as is bearable.</summary>
    public void Close()
    {
        Volatile.Write(ref _isClosing, true);
        _box.Wake();
        if (_thread.Join(TimeSpan.FromSeconds(1)))
        {
            _box.Dispose();
            (_handler as IDisposable)?.Dispose();
        }
    }

    private void Run()
    {
        while (!Volatile.Read(ref _isClosing))
        {
            if (_box.Wait(Timeout.InfiniteTimeSpan, lifeline: null) == WaitResult.Signalled)
            {
                Answer();
                _box.Post();
            }
        }
    }

    private void Answer()
    {
        var message = CallLayout.Read<EventMessage>(_box.Incoming);
        var response = message.Event;
        var answer = new AnswerMessage { Kind = CallKind.Answer };
        _domain.Begin();
        try
        {
            Verdict.TryMake(message.DecidedDecision, message.DecidedEffects, message.DecidedView, out var decided);
            var context = new HandlerContext(_domain, in message.Event, ref response, new DateTime(message.TimeTicks, DateTimeKind.Utc))
            {
                IsDecided = message.IsDecided != 0,
                DecidedVerdict = decided,
            };
            var verdict = _handler.Handle(in message.Event, ref context);
            (answer.Decision, answer.Effects, answer.View, answer.Payload) = ((byte)verdict.Decision, (byte)verdict.Effects, verdict.View, (byte)context.Payload);
            if (context.HasTrap)
            {
                (answer.HasTrap, answer.Trap) = (1, TrapWire.Of(context.Trap));
            }
        }
#pragma warning disable CA1031 // Whatever a handler throws, the monitor is told.
        catch (Exception e)
#pragma warning restore CA1031
        {
            answer.Text = Math.Max(1, CallLayout.WriteText(_box.Outgoing, LoadedPlugin.Explain(e)));
        }

        _domain.End();
        ref var outgoing = ref CallLayout.As<AnswerMessage>(_box.Outgoing);
        if (answer.Payload != 0)
        {
            answer.Response = response;
            outgoing = answer;
            return;
        }

        // The response is most of the message, and mostly nobody wrote to it.
        outgoing.Kind = answer.Kind;
        outgoing.Text = answer.Text;
        (outgoing.Decision, outgoing.Effects, outgoing.View) = (answer.Decision, answer.Effects, answer.View);
        (outgoing.Payload, outgoing.HasTrap, outgoing.Trap) = (0, answer.HasTrap, answer.Trap);
    }
}
