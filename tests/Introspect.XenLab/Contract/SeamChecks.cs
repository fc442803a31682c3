namespace Introspect.XenLab.Contract;

/// <summary>
/// What every implementation of the seam keeps with a real guest behind it: the core in process, the core over a
/// socket, and Xen. What a vendor lacks is expected by its errno.
/// </summary>
internal static partial class SeamChecks
{
    private static readonly (string Name, Action<IContractLab> Run)[] All =
    [
        (nameof(Domains_are_listed_and_opened_by_number_name_and_uuid), Domains_are_listed_and_opened_by_number_name_and_uuid),
        (nameof(A_domain_that_does_not_exist_or_is_gone_is_ESRCH), A_domain_that_does_not_exist_or_is_gone_is_ESRCH),
        (nameof(Watching_sees_domains_come_and_go), Watching_sees_domains_come_and_go),
        (nameof(Pauses_nest), Pauses_nest),
        (nameof(A_vcpu_is_read_and_written), A_vcpu_is_read_and_written),
        (nameof(Guest_memory_is_read_and_written), Guest_memory_is_read_and_written),
        (nameof(A_trap_that_is_injected_comes), A_trap_that_is_injected_comes),
        (nameof(One_monitor_at_a_time), One_monitor_at_a_time),
        (nameof(Enabling_and_disabling_has_Xens_errors), Enabling_and_disabling_has_Xens_errors),
        (nameof(Memory_access_is_as_the_vendor_has_it), Memory_access_is_as_the_vendor_has_it),
        (nameof(Control_registers_are_told_from_the_first_instruction), Control_registers_are_told_from_the_first_instruction),
        (nameof(Only_changes_of_watched_bits_are_told), Only_changes_of_watched_bits_are_told),
        (nameof(Msr_writes_are_told_with_both_values), Msr_writes_are_told_with_both_values),
        (nameof(Cpuid_is_told_and_passed_over), Cpuid_is_told_and_passed_over),
        (nameof(Descriptor_accesses_are_told_and_emulated), Descriptor_accesses_are_told_and_emulated),
        (nameof(Debug_exceptions_are_told_and_reinjected), Debug_exceptions_are_told_and_reinjected),
        (nameof(The_next_interrupt_is_told_once), The_next_interrupt_is_told_once),
        (nameof(Guest_requests_are_told), Guest_requests_are_told),
        (nameof(A_denied_write_does_not_happen), A_denied_write_does_not_happen),
        (nameof(A_response_changes_registers), A_response_changes_registers),
        (nameof(Async_events_are_all_told_in_order), Async_events_are_all_told_in_order),
        (nameof(A_monitor_that_ends_leaves_a_guest_that_goes_on), A_monitor_that_ends_leaves_a_guest_that_goes_on),
    ];

    /// <summary>The checks' names.</summary>
    public static IEnumerable<string> Names => All.Select(static check => check.Name);

    /// <summary>Runs a check.</summary>
    /// <exception cref="ContractException">The contract is not kept.</exception>
    public static void Run(string name, IContractLab lab) => All.Single(check => check.Name == name).Run(lab);

    /// <summary>Runs all checks and says how each went.</summary>
    /// <returns>How many were not kept.</returns>
    public static int RunAll(IContractLab lab, TextWriter output)
    {
        var failed = 0;
        foreach (var (name, run) in All)
        {
            try
            {
                run(lab);
                output.WriteLine($"kept    {name}");
            }
#pragma warning disable CA1031 // Whatever goes wrong is the check's result.
            catch (Exception e)
#pragma warning restore CA1031
            {
                failed++;
                output.WriteLine($"broken  {name}: {(e is ContractException ? e.Message : e.ToString())}");
            }
        }

        output.WriteLine($"{All.Length - failed} of {All.Length} kept");
        return failed;
    }
}
