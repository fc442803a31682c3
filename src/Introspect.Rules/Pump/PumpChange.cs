namespace Introspect.Rules.Pump;

/// <summary>
/// Other handlers for a pump that runs, found possible by <see cref="EventPump.Prepare"/> and not yet in force.
/// <see cref="EventPump.Apply"/> puts them in force, once.
/// </summary>
public sealed class PumpChange
{
    private const int Waiting = 0;
    private const int Taken = 1;
    private const int Withdrawn = 2;

    private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _state;

    internal PumpChange(EventPump pump, HandlerSlot[] slots, SubscriptionPlan plan) => (Pump, Slots, Plan) = (pump, slots, plan);

    internal EventPump Pump { get; }

    internal HandlerSlot[] Slots { get; }

    internal SubscriptionPlan Plan { get; }

    internal Task Done => _done.Task;

    /// <summary>Handlers that ask for steps and were there before: steps that they asked for go on.</summary>
    internal bool KeepsHandlersSteps(ReadOnlySpan<HandlerSlot> before)
    {
        foreach (var slot in before)
        {
            if (slot.Subscription.MayStep && Array.IndexOf(Slots, slot) >= 0)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Somebody waits for it.</summary>
    internal bool IsWaiting => Volatile.Read(ref _state) == Waiting;

    /// <summary>The pump puts it in force: it can be withdrawn no more.</summary>
    internal bool TryTake() => Interlocked.CompareExchange(ref _state, Taken, Waiting) == Waiting;

    /// <summary>Nobody waits for it any more.</summary>
    internal bool TryWithdraw() => Interlocked.CompareExchange(ref _state, Withdrawn, Waiting) == Waiting;

    internal void Succeed() => _done.TrySetResult();

    internal void Fail(Exception why) => _done.TrySetException(why);
}
