namespace Introspect.Hypervisor.Core;

/// <summary>Says when it pays to look whether domains came or went.</summary>
internal interface IChangeSignal : IDisposable
{
    /// <summary>Waits until it pays to look again.</summary>
    /// <returns>False: the token was cancelled.</returns>
    ValueTask<bool> WaitAsync(CancellationToken cancellationToken);
}

/// <summary>A look every so often, where nobody tells of changes.</summary>
internal sealed class PeriodicLook(TimeSpan interval) : IChangeSignal
{
    private readonly PeriodicTimer _timer = new(interval);

    /// <inheritdoc/>
    public async ValueTask<bool> WaitAsync(CancellationToken cancellationToken)
    {
        try
        {
            return await _timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _timer.Dispose();
}
