namespace Introspect.Hypervisor.Core.Platform.Apic;

/// <summary>A domain's local APICs and how messages find their way among them.</summary>
internal sealed partial class LocalApicBus(uint vcpuCount)
{
    private readonly LocalApic?[] _apics = new LocalApic?[vcpuCount];
    private uint _lastLowest;

    /// <summary>
    /// Logical x2APIC addresses are made from vCPU numbers in place of APIC numbers: the domain came from a
    /// hypervisor that did so, and its guest has seen them.
    /// </summary>
    public bool LogicalIdsFollowVcpus { get; set; }

    /// <summary>System time at which <see cref="Expire"/> has something to do, or <see cref="ulong.MaxValue"/>.</summary>
    public ulong NextDeadline
    {
        get
        {
            var next = ulong.MaxValue;
            if (IsHeld)
            {
                return next;
            }

            foreach (var apic in _apics)
            {
                if (apic?.Deadline is > 0 and var deadline && deadline < next)
                {
                    next = deadline;
                }
            }

            return next;
        }
    }

    /// <summary>Makes the APIC of a vCPU.</summary>
    public LocalApic Attach(uint vcpuId, ILocalApicHost host)
    {
        var apic = new LocalApic(this, vcpuId, host);
        Volatile.Write(ref _apics[vcpuId], apic);
        return apic;
    }

    /// <summary>The APIC of a vCPU, or null.</summary>
    public LocalApic? Find(uint vcpuId) => vcpuId < (uint)_apics.Length ? Volatile.Read(ref _apics[vcpuId]) : null;

    /// <summary>Lets the timers that are due at a system time tick.</summary>
    public void Expire(ulong now)
    {
        if (IsHeld)
        {
            return;
        }

        foreach (var apic in _apics)
        {
            apic?.Expire(now);
        }
    }

    /// <summary>Sends what was written to an interrupt command register (<c>vlapic_ipi</c>).</summary>
    public void Send(LocalApic source, uint command, uint commandHigh)
    {
        var destination = source.IsX2 ? commandHigh : commandHigh >> 24;
        var mode = command & ApicBits.DeliveryMode;
        if (mode is ApicBits.ModeFixed or ApicBits.ModeLowest && (byte)command < ApicBits.FirstVector)
        {
            source.RefuseToSend();
            return;
        }

        if (mode == ApicBits.ModeLowest)
        {
            FindLowest(source, command, destination)?.Accept(command);
            return;
        }

        foreach (var target in _apics)
        {
            if (target is not null && target.IsAddressed(source, command, destination))
            {
                target.Accept(command);
            }
        }
    }

    /// <summary>Of the APICs addressed the one with the lowest priority, the next in turn where several have it.</summary>
    private LocalApic? FindLowest(LocalApic source, uint command, uint destination)
    {
        LocalApic? found = null;
        var lowest = uint.MaxValue;
        var last = Volatile.Read(ref _lastLowest);
        for (uint n = 1; n <= _apics.Length; n++)
        {
            var target = _apics[(last + n) % (uint)_apics.Length];
            if (target is null || !target.IsAddressed(source, command, destination) || !target.IsEnabled)
            {
                continue;
            }

            var priority = target.ProcessorPriority;
            if (priority < lowest)
            {
                (found, lowest) = (target, priority);
            }
        }

        if (found is not null)
        {
            Volatile.Write(ref _lastLowest, found.VcpuId);
        }

        return found;
    }
}
