using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Ring;

/// <summary>
/// The hypervisor's side of a vm_event ring (what ring.h calls the front end): puts requests, takes responses.
/// Its user holds a lock around it, as Xen does.
/// </summary>
internal sealed class HypervisorRing : SharedRing
{
    private uint _reqProdPvt;
    private uint _rspCons;

    /// <summary>Starts at index 0 without touching the page, as Xen's ENABLE does: the monitor initialises it.</summary>
    /// <param name="page">Native address of the mapped ring page.</param>
    /// <param name="elementSize">Bytes of an event in the interface version spoken.</param>
    public HypervisorRing(nint page, int elementSize = VmEvent.SizeInBytes)
        : base(page, elementSize)
    {
    }

    /// <summary>Slots free for requests (<c>RING_FREE_REQUESTS</c>): the size less what was put and not answered.</summary>
    public int FreeRequests
    {
        get
        {
            // Negative when a monitor answered more than it was asked; the ring has no more slots for that.
            var outstanding = (int)(_reqProdPvt - _rspCons);
            return Slots - Math.Max(outstanding, 0);
        }
    }

    /// <summary>Responses that were pushed and not taken yet; at most the size of the ring, whatever the page says.</summary>
    public int UnconsumedResponses => (int)Math.Min(Load(RspProd) - _rspCons, (uint)Slots);

    /// <summary>The indices, for people.</summary>
    public string State => $"req_prod {_reqProdPvt}, rsp_prod {Load(RspProd)}, rsp_cons {_rspCons}, {Slots} slots";

    /// <summary>Puts a request into the ring. <see cref="Push"/> makes it seen. <see cref="FreeRequests"/> must not be 0.</summary>
    public void Put(ReadOnlySpan<byte> request)
    {
        CheckLength(request.Length, nameof(request));
        if (FreeRequests == 0)
        {
            throw new InvalidOperationException("The ring is full.");
        }

        CopyIn(_reqProdPvt, request);
        _reqProdPvt++;
    }

    /// <summary>Puts a request of version 7 into the ring.</summary>
    public void Put(in VmEvent request) => Put(MemoryMarshal.AsBytes(new ReadOnlySpan<VmEvent>(in request)));

    /// <summary>Makes the requests seen (<c>RING_PUSH_REQUESTS</c>). Xen signals the event channel after it, always.</summary>
    public void Push() => Store(ReqProd, _reqProdPvt);

    /// <summary>Makes the requests seen, and tells whether the other side asked to be woken for them.</summary>
    public bool PushAndCheckNotify() => PushAndCheckNotify(ReqProd, ReqEvent, _reqProdPvt);

    /// <summary>
    /// Copies the next response out of the page, once. A response that no request asked for is taken like any other,
    /// as on Xen; more than a ringful of them at once is <see cref="RingStatus.Corrupt"/>.
    /// </summary>
    public RingStatus Take(Span<byte> response)
    {
        CheckLength(response.Length, nameof(response));
        var waiting = Load(RspProd) - _rspCons;
        if (waiting > (uint)Slots)
        {
            return RingStatus.Corrupt;
        }

        if (waiting == 0)
        {
            return RingStatus.Empty;
        }

        CopyOut(_rspCons, response);
        _rspCons++;
        return RingStatus.Taken;
    }

    /// <summary>Copies the next response out of the page, once, in the shape of version 7.</summary>
    public RingStatus Take(out VmEvent response)
    {
        // Not cleared first: the copy fills all of it.
        Unsafe.SkipInit(out response);
        var status = Take(MemoryMarshal.AsBytes(new Span<VmEvent>(ref response)));
        if (status != RingStatus.Taken)
        {
            response = default;
        }

        return status;
    }

    /// <summary>Asks for a signal at the next response and looks once more (<c>RING_FINAL_CHECK_FOR_RESPONSES</c>).</summary>
    /// <returns>True when there are responses: do not sleep.</returns>
    public bool FinalCheckForResponses()
    {
        if (UnconsumedResponses != 0)
        {
            return true;
        }

        Store(RspEvent, _rspCons + 1);
        Interlocked.MemoryBarrier();
        return UnconsumedResponses != 0;
    }
}
