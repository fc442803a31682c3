using System.Buffers.Binary;
using Introspect.Hypervisor;
using Introspect.XenLab.Contract;
using Introspect.XenLab.Guest;

namespace Introspect.XenLab.Measure;

/// <summary>The rounds that a trace guest counts in its own memory: whether it runs, and how far it came.</summary>
internal static class GuestCounter
{
    // A guest that can be seen to stand has to be looked at twice.
    private static readonly TimeSpan Between = TimeSpan.FromSeconds(2);

    public static ulong Read(IDomain domain)
    {
        Span<byte> bytes = stackalloc byte[8];
        domain.Memory.ReadPhysical(new(TraceLayout.Counter), bytes);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    /// <summary>Returns when the guest has made some more rounds.</summary>
    /// <exception cref="ContractException">It does not.</exception>
    public static ulong WaitUntilItGoesOn(IDomain domain)
    {
        var before = Read(domain);
        Check.Eventually(() => Read(domain) > before + 10, "the guest's counter goes on");
        return Read(domain) - before;
    }

    /// <summary>Returns when the guest makes no more rounds.</summary>
    /// <exception cref="ContractException">It goes on.</exception>
    public static ulong WaitUntilItStands(IDomain domain)
    {
        var last = ulong.MaxValue;
        for (var tries = Check.Patience / Between; tries > 0; tries--)
        {
            var now = Read(domain);
            if (now == last)
            {
                return now;
            }

            last = now;
            Thread.Sleep(Between);
        }

        throw new ContractException("not so: the guest's counter stands");
    }
}
