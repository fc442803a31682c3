using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Ring;

/// <summary>
/// The monitor's side of a vm_event ring (what ring.h calls the back end): takes requests, puts responses.
/// One thread uses it.
/// </summary>
internal sealed class MonitorRing : SharedRing
{
    private uint _reqCons;
    private uint _rspProdPvt;

    /// <param name="page">Native address of the mapped ring page.</param>
    /// <param name="elementSize">Bytes of an event in the hypervisor's interface version.</param>
    public MonitorRing(nint page, int elementSize = VmEvent.SizeInBytes)
        : base(page, elementSize) => Page = page;

    /// <summary>Native address of the ring page.</summary>
    public nint Page { get; }

    /// <summary>
    /// Requests that were pushed and not taken yet (<c>RING_HAS_UNCONSUMED_REQUESTS</c>). At most the size of the
    /// ring, whatever the page says.
    /// </summary>
    public int UnconsumedRequests
    {
        get
        {
            var pushed = Load(ReqProd) - _reqCons;
            var room = (uint)Slots - (_reqCons - _rspProdPvt);
            return (int)Math.Min(Math.Min(pushed, room), (uint)Slots);
        }
    }

    /// <summary>Requests taken and not answered yet.</summary>
    public int Unanswered => (int)(_reqCons - _rspProdPvt);

    /// <summary>The index in the page which the last <see cref="RingStatus.Corrupt"/> was about, for people.</summary>
    public string State => $"req_prod {Load(ReqProd)}, req_cons {_reqCons}, rsp_prod {_rspProdPvt}, {Slots} slots";

    /// <summary>Empties the page and starts at its beginning. Xen never initialises the page: the monitor must.</summary>
    public void Initialise()
    {
        InitialisePage(Page);
        _reqCons = _rspProdPvt = 0;
    }

    /// <summary>Goes on where a dead monitor stopped: everything that it did not answer counts as not yet taken.</summary>
    public void Adopt() => _reqCons = _rspProdPvt = Load(RspProd);

    /// <summary>Copies the next request out of the page, once.</summary>
    public RingStatus Take(Span<byte> request)
    {
        CheckLength(request.Length, nameof(request));
        var produced = Load(ReqProd);

        // The other side may have at most a ringful out that we have not answered (RING_REQUEST_PROD_OVERFLOW).
        if (produced - _rspProdPvt > (uint)Slots || produced - _reqCons > (uint)Slots)
        {
            return RingStatus.Corrupt;
        }

        if (produced == _reqCons)
        {
            return RingStatus.Empty;
        }

        CopyOut(_reqCons, request);
        _reqCons++;
        return RingStatus.Taken;
    }

    /// <summary>Copies the next request out of the page, once, in the shape of version 7.</summary>
    public RingStatus Take(out VmEvent request)
    {
        // Not cleared first: the copy fills all of it.
        Unsafe.SkipInit(out request);
        var status = Take(MemoryMarshal.AsBytes(new Span<VmEvent>(ref request)));
        if (status != RingStatus.Taken)
        {
            request = default;
        }

        return status;
    }

    /// <summary>Requests of a reason that were pushed and not taken yet. They stay where they are.</summary>
    public int CountUnconsumed(VmEventReason reason)
    {
        var count = 0;
        var pushed = (uint)UnconsumedRequests;
        for (uint ahead = 0; ahead < pushed; ahead++)
        {
            VmEvent request = default;
            CopyOut(_reqCons + ahead, MemoryMarshal.AsBytes(new Span<VmEvent>(ref request)));
            count += request.Reason == reason ? 1 : 0;
        }

        return count;
    }

    /// <summary>Puts the response to a request that was taken into the ring. <see cref="Push"/> makes it seen.</summary>
    public void Put(ReadOnlySpan<byte> response)
    {
        if (_rspProdPvt == _reqCons)
        {
            throw new InvalidOperationException("Every request that was taken from the ring has its response already.");
        }

        PutUnasked(response);
    }

    /// <summary>Puts a response of version 7 into the ring.</summary>
    public void Put(in VmEvent response) => Put(MemoryMarshal.AsBytes(new ReadOnlySpan<VmEvent>(in response)));

    /// <summary>
    /// Puts a response that no request of this ring asked for: how the vCPUs of a dead monitor are released.
    /// The ring's two sides do not match afterwards, so it is to be disabled and enabled anew.
    /// </summary>
    public void PutUnasked(ReadOnlySpan<byte> response)
    {
        CheckLength(response.Length, nameof(response));
        CopyIn(_rspProdPvt, response);
        _rspProdPvt++;
    }

    /// <summary>Makes the responses seen (<c>RING_PUSH_RESPONSES</c>). Xen wants the event channel signalled after it, always.</summary>
    public void Push() => Store(RspProd, _rspProdPvt);

    /// <summary>Makes the responses seen, and tells whether the other side asked to be woken for them.</summary>
    public bool PushAndCheckNotify() => PushAndCheckNotify(RspProd, RspEvent, _rspProdPvt);

    /// <summary>
    /// Asks for a signal at the next request and looks once more (<c>RING_FINAL_CHECK_FOR_REQUESTS</c>), so that a
    /// request which came in between is not slept over.
    /// </summary>
    /// <returns>True when there are requests: do not sleep.</returns>
    public bool FinalCheckForRequests()
    {
        if (UnconsumedRequests != 0)
        {
            return true;
        }

        Store(ReqEvent, _reqCons + 1);
        Interlocked.MemoryBarrier();
        return UnconsumedRequests != 0;
    }
}
