namespace Introspect.Hypervisor.Linux;

/// <summary>What this process may take of the machine's memory.</summary>
internal static unsafe class ProcessMemory
{
    /// <summary>
    /// Limits what this process has for itself: heaps, stacks and whatever else is private and can be written (RLIMIT_DATA).
    /// Who asks for more is refused.
    /// </summary>
    /// <exception cref="HypervisorException">A lower limit is in force.</exception>
    public static void Limit(ulong bytes)
    {
        var limit = new ResourceLimit { Current = bytes, Maximum = bytes };

        // SAFETY: the structure lives on the stack, is only read, and is as the C library has it on x86-64.
        if (Libc.SetResourceLimit(Libc.RlimitData, &limit) != 0)
        {
            throw Libc.Failure($"the memory of this process cannot be limited to {bytes >> 20} MiB");
        }
    }
}

/// <summary><c>struct rlimit</c>.</summary>
internal struct ResourceLimit
{
    /// <summary><c>rlim_cur</c>.</summary>
    public ulong Current;

    /// <summary><c>rlim_max</c>.</summary>
    public ulong Maximum;
}
