namespace Introspect.Hypervisor.Core.Host;

/// <summary>What a guest is asked, and what becomes of that.</summary>
internal enum LabPowerStep
{
    /// <summary>It is asked to switch itself off.</summary>
    Poweroff,

    /// <summary>It is asked to reboot.</summary>
    Reboot,

    /// <summary>Its answer is waited for.</summary>
    Await,

    /// <summary>It is not asked any longer.</summary>
    Withdraw,
}

/// <summary>What a guest said.</summary>
internal enum LabPowerAnswer
{
    /// <summary>Nothing yet, and nothing in it listens, or not yet.</summary>
    Unheard,

    /// <summary>Nothing yet, though it listens.</summary>
    Unanswered,

    /// <summary>It has read what it was asked.</summary>
    Acknowledged,

    /// <summary>It has ended, or was built anew.</summary>
    Ended,
}

/// <summary>What follows from what a guest said.</summary>
internal static class LabPowerAnswers
{
    /// <summary>It may still act on what it was asked: it has neither read it nor ended.</summary>
    public static bool IsOpen(this LabPowerAnswer answer) => answer is LabPowerAnswer.Unheard or LabPowerAnswer.Unanswered;
}
