namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>
/// A guest's connection to the store: what it asked and what it is to be told. Everything under the store's lock. It runs on
/// whichever thread has something for it; there is none of its own. A call handles no more than a ring holds, and the guest
/// sends an event for what it puts there meanwhile.
/// </summary>
internal sealed class StoreConnection(XenStore store, ushort domain, IStoreLink link)
{
    private const int MostMessage = StoreHeader.SizeInBytes + StoreWire.MostPayload;

    private readonly byte[] _input = new byte[MostMessage];
    private int _received;

    /// <summary>Whose it is.</summary>
    public ushort Domain { get; } = domain;

    /// <summary>The guest as who looks at nodes.</summary>
    public StoreCaller Caller { get; } = new(domain, IsToolstack: false);

    /// <summary>Where its relative paths begin.</summary>
    public string Home { get; } = StorePath.Of(domain);

    /// <summary>What it wants to be told of.</summary>
    public List<StoreWatch> Watches { get; } = [];

    /// <summary>Its open transactions.</summary>
    public List<StoreTransaction> Transactions { get; } = [];

    /// <summary>The number of its next transaction.</summary>
    public uint NextTransaction { get; set; } = 1;

    /// <summary>What it did not read yet.</summary>
    public StoreOutput Output { get; } = new();

    /// <summary>The beginning of a message of which the rest has not come.</summary>
    public ReadOnlySpan<byte> Input => _input.AsSpan(0, _received);

    /// <summary>Why it is not served any longer.</summary>
    public StoreFault Fault { get; private set; }

    /// <summary>Bytes that one message may take until it is whole, from what is known of it: its header, then all of it.</summary>
    private int Expected => _received < StoreHeader.SizeInBytes
        ? StoreHeader.SizeInBytes
        : StoreHeader.SizeInBytes + (int)StoreHeader.Read(_input).Length;

    /// <summary>Tells the guest what it can make use of, when the connection is made.</summary>
    public void Begin() => StoreRing.Announce(link.Page, StoreWire.Features, Fault);

    /// <summary>Answers what the guest asked, and gives it what waits for it.</summary>
    public void Serve()
    {
        if (link.IsStill)
        {
            return;
        }

        var page = link.Page;
        if (StoreRing.WantsReconnect(page))
        {
            Forget();
            Fault = StoreFault.None;
            StoreRing.CompleteReconnect(page);
            link.Signal();
            return;
        }

        if (Fault == StoreFault.None && Exchange(page))
        {
            link.Signal();
        }
    }

    /// <summary>Gives the guest what waits for it.</summary>
    public void Deliver()
    {
        if (Output.Bytes == 0 || Fault != StoreFault.None || link.IsStill)
        {
            return;
        }

        var count = Output.Send(link.Page);
        if (count < 0)
        {
            Ignore(StoreFault.RingIndex);
        }

        if (count != 0)
        {
            link.Signal();
        }
    }

    /// <summary>Forgets what was asked and what was to be told.</summary>
    public void Forget()
    {
        Watches.Clear();
        Transactions.Clear();
        Output.Clear();
        _received = 0;
    }

    /// <summary>Takes over what was saved. What cannot be was refused before.</summary>
    public void Resume(ReadOnlySpan<byte> input, byte[] output, StoreFault fault)
    {
        input.CopyTo(_input);
        _received = input.Length;
        Fault = fault;
        if (output.Length != 0)
        {
            Output.Add(output);
        }
    }

    /// <summary>Bytes are the beginning of a message, and not all of it.</summary>
    public static bool IsBeginning(ReadOnlySpan<byte> input) => input.Length < StoreHeader.SizeInBytes
        || (StoreHeader.Read(input).Length is var length and <= StoreWire.MostPayload && input.Length < StoreHeader.SizeInBytes + (int)length);

    // True: the ring changed, and the guest is to be told.
    private bool Exchange(Span<byte> page)
    {
        var changed = false;
        var left = StoreRing.Size;
        while (true)
        {
            var sent = Output.Send(page);
            if (sent < 0)
            {
                Ignore(StoreFault.RingIndex);
                return true;
            }

            changed |= sent > 0;
            if (left == 0 || Output.Bytes > StoreQuota.UnreadAnswers)
            {
                return changed;
            }

            var taken = StoreRing.Read(page, _input.AsSpan(_received, Math.Min(Expected - _received, left)));
            if (taken < 0)
            {
                Ignore(StoreFault.RingIndex);
                return true;
            }

            if (taken == 0)
            {
                return changed;
            }

            (changed, left, _received) = (true, left - taken, _received + taken);
            if (_received < StoreHeader.SizeInBytes)
            {
                continue;
            }

            var header = StoreHeader.Read(_input);
            if (header.Length > StoreWire.MostPayload)
            {
                Ignore(StoreFault.Protocol);
                return true;
            }

            if (_received == Expected)
            {
                _received = 0;
                StoreRequests.Answer(store, this, header, _input.AsSpan(StoreHeader.SizeInBytes, (int)header.Length));
            }
        }
    }

    private void Ignore(StoreFault fault)
    {
        Forget();
        Fault = fault;
        StoreRing.Announce(link.Page, StoreWire.Features, fault);
    }
}
