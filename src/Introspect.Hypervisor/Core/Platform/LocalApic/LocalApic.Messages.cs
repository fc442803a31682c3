namespace Introspect.Hypervisor.Core.Platform.Apic;

/// <summary>Messages from other APICs: whether one is for this APIC, and what it does.</summary>
internal sealed partial class LocalApic
{
    /// <summary>The message of a source is for this APIC. Any thread.</summary>
    public bool IsAddressed(LocalApic source, uint command, uint destination) => (command & ApicBits.Shorthand) switch
    {
        ApicBits.ShorthandSelf => ReferenceEquals(source, this),
        ApicBits.ShorthandAll => true,
        ApicBits.ShorthandOthers => !ReferenceEquals(source, this),
        _ when (command & ApicBits.LogicalDestination) != 0 => HasLogicalAddress(destination),
        _ => destination == Broadcast || destination == NumberInMode,
    };

    /// <summary>A message with an illegal vector was to be sent.</summary>
    public void RefuseToSend() => Error(ApicBits.ErrorSendIllegalVector);

    /// <summary>Takes a message in. Any thread.</summary>
    public void Accept(uint command)
    {
        switch (command & ApicBits.DeliveryMode)
        {
            case ApicBits.ModeFixed or ApicBits.ModeLowest:
                if (IsEnabled)
                {
                    Request((byte)command);
                }

                break;
            case ApicBits.ModeNmi:
                _host.RaiseNmi();
                break;
            case ApicBits.ModeInit:
                // The de-assertion is for processors of old; nothing happens on it.
                if ((command & (ApicBits.LevelTriggered | ApicBits.Assert)) != ApicBits.LevelTriggered)
                {
                    _host.RequestInit();
                }

                break;
            case ApicBits.ModeStartup:
                _host.RequestStartup((byte)command);
                break;
            case ApicBits.ModeSmi or ApicBits.ModeRemoteRead:
                break; // not there
            default:
                _host.Crash(); // ExtINT cannot be sent
                break;
        }
    }

    private uint Broadcast => IsX2 ? uint.MaxValue : 0xFF;

    private uint NumberInMode
    {
        get
        {
            var id = Volatile.Read(ref Register(ApicRegister.Id));
            return IsX2 ? id : id >> 24;
        }
    }

    private bool HasLogicalAddress(uint destination)
    {
        var own = Volatile.Read(ref Register(ApicRegister.LogicalDestination));
        if (IsX2)
        {
            return own >> 16 == destination >> 16 && (own & destination & 0xFFFF) != 0;
        }

        own >>= 24;
        destination &= 0xFF;
        return Volatile.Read(ref Register(ApicRegister.DestinationFormat)) switch
        {
            ApicBits.FlatFormat => (own & destination) != 0,
            ApicBits.ClusterFormat => own >> 4 == destination >> 4 && (own & destination & 0xF) != 0,
            _ => false,
        };
    }
}
