using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Ring;

/// <summary>
/// The monitor's side of a ring of any interface version (Xen 4.6 to 4.22): slots as large as the version has them,
/// requests read into the newest shape, responses written in the version's own. One thread uses it.
/// </summary>
internal sealed class VersionedMonitorRing
{
    private readonly VmEventCodec _codec;
    private readonly byte[] _raw;

    /// <param name="page">Native address of the mapped ring page.</param>
    /// <param name="version">Interface version of the hypervisor.</param>
    /// <exception cref="HypervisorException">EOPNOTSUPP: the version is not known here.</exception>
    public VersionedMonitorRing(nint page, uint version)
    {
        _codec = VmEventCodec.For(version);
        _raw = new byte[_codec.SizeInBytes];
        Ring = new MonitorRing(page, _codec.SizeInBytes);
    }

    /// <summary>The ring underneath: its indices, its notification rules.</summary>
    public MonitorRing Ring { get; }

    /// <summary>The interface version spoken.</summary>
    public uint Version => _codec.Version;

    /// <summary>Requests that were of another version: each was answered as it came, so that its slot comes back.</summary>
    public long Malformed { get; private set; }

    /// <summary>
    /// Tells the version of the first request that the hypervisor put into a ring which was initialised and not read
    /// yet. The first slot is at the same place in every version. 0: there is none yet.
    /// </summary>
    public static unsafe uint Detect(nint page)
    {
        // SAFETY: the caller says that a whole page is mapped there; both words are at its beginning.
        var words = (uint*)page;
        return Volatile.Read(ref words[0]) == 0 ? 0 : Volatile.Read(ref words[SharedRing.FirstSlot / sizeof(uint)]);
    }

    /// <summary>Takes the next request, in the newest shape.</summary>
    public RingStatus Take(out VmEvent request)
    {
        while (true)
        {
            var status = Ring.Take(_raw);
            if (status != RingStatus.Taken)
            {
                request = default;
                return status;
            }

            if (_codec.TryDecode(_raw, out request))
            {
                return RingStatus.Taken;
            }

            Malformed++;
            Ring.Put(_raw);
        }
    }

    /// <summary>Puts the response to a request that was taken, in the version's own shape.</summary>
    public void Put(in VmEvent response)
    {
        _codec.Encode(in response, _raw);
        Ring.Put(_raw);
    }

    /// <summary>Puts a response that no request of this ring asked for, in the version's own shape.</summary>
    public void PutUnasked(in VmEvent response)
    {
        _codec.Encode(in response, _raw);
        Ring.PutUnasked(_raw);
    }

    /// <summary>Makes the responses seen. The event channel is to be signalled after it, always.</summary>
    public void Push() => Ring.Push();
}
