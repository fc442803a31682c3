using Introspect.Hypervisor;

namespace Introspect.Rules.Pump;

/// <content>
/// Other handlers between two events. The domain stands still meanwhile, and what it had told before is answered by the
/// handlers that were there then: each event is judged once, by those in force when it happened.
/// </content>
#pragma warning disable CA1001 // Sources of a token without a timer hold nothing; whoever wakes the pump may come after its end.
internal sealed partial class PumpSession
#pragma warning restore CA1001
{
    private PumpChange? _change;
    private int _pausedForChange;
    private CancellationTokenSource _attention = new();

    /// <summary>Hands a change to the pump. Any thread; one change at a time.</summary>
    public void Post(PumpChange change)
    {
        Volatile.Write(ref _change, change);
        Wake();
    }

    /// <summary>Ends the pump's sleep.</summary>
    public void Wake() => Volatile.Read(ref _attention).Cancel();

    // False: another thread took over.
    private bool Change()
    {
        if (_attention.IsCancellationRequested)
        {
            // Before looking for a change: whoever posts one from here on finds the new one.
            Volatile.Write(ref _attention, new CancellationTokenSource());
        }

        if (Volatile.Read(ref _change) is not { IsWaiting: true } change)
        {
            return true;
        }

        try
        {
            _domain.Pause();
        }
        catch (HypervisorException failure)
        {
            Volatile.Write(ref _change, null);
            change.Fail(failure);
            return true;
        }

        Volatile.Write(ref _pausedForChange, 1);
        Exception? refused = null;
        try
        {
            while (_monitor.UnconsumedRequests is > 0 and var waiting)
            {
                if (!RunBatch(waiting))
                {
                    return false;
                }
            }

            // Until here it may be withdrawn: a handler may have taken its time. A step under way ends some time.
            if ((_attachment.MustStandStill(change.Plan) && _stepper.AnyStepping) || !change.TryTake())
            {
                return true;
            }

            Volatile.Write(ref _change, null);
            _attachment.Change(change.Plan, message => _reporter.Tell(PumpDiagnosticKind.EventUnsupported, message), Attempt);
            Use(change);
        }
#pragma warning disable CA1031 // Whoever asked for the change is told; the pump goes on as it was.
        catch (Exception failure)
#pragma warning restore CA1031
        {
            refused = failure;
        }
        finally
        {
            EndPause();
        }

        // Either way the domain goes on when whoever asked is told.
        if (refused is null)
        {
            change.Succeed();
        }
        else
        {
            change.Fail(refused);
        }

        return true;
    }

    private void Use(PumpChange change)
    {
        if (!change.KeepsHandlersSteps(_chain.Slots))
        {
            _stepper.EndHandlersSteps();
        }

        foreach (var slot in change.Slots)
        {
            slot.Statistics.MarkDisabled(slot.Breaker.IsOpen);
        }

        _reporter.UseHandlers(change.Slots.Length);
        _chain = new(change.Slots, _statistics, _reporter, _options);
        _statistics.UseHandlers(Array.ConvertAll(change.Slots, slot => slot.Statistics));
    }

    // Also by the thread that takes over: a guest must not stand still for a handler that does not return.
    private void EndPause()
    {
        if (Interlocked.Exchange(ref _pausedForChange, 0) != 0)
        {
            Attempt("unpausing the domain", _domain.Unpause);
        }
    }

    private void EndChange()
    {
        EndPause();
        Interlocked.Exchange(ref _change, null)?.Fail(new PumpStartException($"watching domain {_domain.Id} ended before its handlers were changed"));
    }
}
