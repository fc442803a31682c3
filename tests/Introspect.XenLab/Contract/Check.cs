using Introspect.Hypervisor;

namespace Introspect.XenLab.Contract;

/// <summary>What a check asserts with; it needs no test framework, since it runs in dom0 too.</summary>
internal static class Check
{
    /// <summary>How long a guest may take for what it does at once; generous, since machines are emulated.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(240);

    public static void Equal<T>(T expected, T actual, string what)
    {
        if (!EqualityComparer<T>.Default.Equals(expected, actual))
        {
            throw new ContractException($"{what}: expected {expected}, got {actual}");
        }
    }

    public static void Sequence<T>(IReadOnlyList<T> expected, IReadOnlyList<T> actual, string what)
    {
        for (var i = 0; i < Math.Min(expected.Count, actual.Count); i++)
        {
            Equal(expected[i], actual[i], $"{what} {i + 1} of {expected.Count}");
        }

        Equal(expected.Count, actual.Count, $"number of {what}s");
    }

    public static void True(bool condition, string what)
    {
        if (!condition)
        {
            throw new ContractException($"not so: {what}");
        }
    }

    public static void Refused(Errno error, string what, Action action)
    {
        try
        {
            action();
        }
        catch (HypervisorException e)
        {
            Equal(error, e.Error, what);
            return;
        }

        throw new ContractException($"{what}: expected {error}, but it was done");
    }

    public static void Eventually(Func<bool> condition, string what) =>
        True(SpinWait.SpinUntil(condition, Patience), $"{what}, within {Patience.TotalSeconds:0} s");
}
