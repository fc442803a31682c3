using System.Globalization;

namespace Introspect.Hypervisor;

/// <summary>Guest frame number: a guest-physical page of 4096 bytes.</summary>
/// <param name="Value">Guest-physical address divided by 4096.</param>
public readonly record struct Gfn(ulong Value)
{
    /// <summary>Bytes in a page.</summary>
    public const int PageSize = 4096;

    /// <summary>Bits of an address that are the offset in a page.</summary>
    public const int PageShift = 12;

    /// <summary>The guest-physical address of the page's first byte.</summary>
    public GuestPhysical Address => new(Value << PageShift);

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"0x{Value:x}");
}

/// <summary>Guest-physical address in bytes.</summary>
/// <param name="Value">Address.</param>
public readonly record struct GuestPhysical(ulong Value)
{
    /// <summary>The page that the address is in.</summary>
    public Gfn Gfn => new(Value >> Gfn.PageShift);

    /// <summary>Byte offset in the page.</summary>
    public int PageOffset => (int)(Value & (Gfn.PageSize - 1));

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"0x{Value:x}");

    /// <summary>Address plus a number of bytes.</summary>
    public static GuestPhysical operator +(GuestPhysical a, ulong bytes) => new(a.Value + bytes);

    /// <summary>Address plus a number of bytes.</summary>
    public GuestPhysical Add(ulong bytes) => this + bytes;
}

/// <summary>Guest-virtual (linear) address in bytes: what Xen calls a gla.</summary>
/// <param name="Value">Address.</param>
public readonly record struct GuestVirtual(ulong Value)
{
    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"0x{Value:x}");

    /// <summary>Address plus a number of bytes.</summary>
    public static GuestVirtual operator +(GuestVirtual a, ulong bytes) => new(a.Value + bytes);

    /// <summary>Address plus a number of bytes.</summary>
    public GuestVirtual Add(ulong bytes) => this + bytes;
}

/// <summary>Number of a virtual CPU in its domain, from 0.</summary>
/// <param name="Value">Number.</param>
public readonly record struct VcpuId(uint Value)
{
    /// <inheritdoc/>
    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);
}

/// <summary>Number of an altp2m view of a domain, from 0.</summary>
/// <param name="Value">Number; 0 is the view in which every vCPU starts, and stands for the host table where rights are set.</param>
public readonly record struct ViewId(ushort Value)
{
    /// <summary>The first view, which is there as long as altp2m is on.</summary>
    public static ViewId Host => new(0);

    /// <inheritdoc/>
    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);
}

/// <summary>Number of a domain (<c>domid_t</c>).</summary>
/// <param name="Value">Number; 0x7FF0 and above are special in Xen.</param>
public readonly record struct DomainId(ushort Value)
{
    /// <summary>First of Xen's reserved numbers (<c>DOMID_FIRST_RESERVED</c>).</summary>
    public const ushort FirstReserved = 0x7FF0;

    /// <inheritdoc/>
    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);
}
