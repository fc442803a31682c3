using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.State;

/// <summary>Carries the state of a domain that stands still into another one of the same shape, section by section.</summary>
internal static class DomainStateCopy
{
    [ThreadStatic]
    private static byte[]? _buffer;

    /// <summary>Copies what Xen's saved context has, then the rest.</summary>
    /// <returns>EINVAL: the target cannot take it.</returns>
    public static Errno Copy(Domain source, Domain target)
    {
        var context = Buffer(HvmContext.MaxSize(source));
        var length = HvmContext.Save(source, context);
        if (HvmContext.Load(target, context[..length]) is var refused and not Errno.None)
        {
            return refused;
        }

        for (var i = 0; i < source.CoreSections.Count; i++)
        {
            var section = source.CoreSections[i];
            if (Find(target, section.TypeCode) is not { } taker || taker.Length != section.Length)
            {
                return Errno.EINVAL;
            }

            if (CopySection(section, taker, section.IsPerVcpu ? (uint)source.Vcpus.Count : 1) is var error and not Errno.None)
            {
                return error;
            }
        }

        return Errno.None;
    }

    private static Errno CopySection(IHvmContextSection source, IHvmContextSection target, uint instances)
    {
        var record = Buffer(source.Length)[..source.Length];
        for (uint instance = 0; instance < instances; instance++)
        {
            record.Clear();
            if (source.TrySave(instance, record) && target.Load(instance, record) is var refused and not Errno.None)
            {
                return refused;
            }
        }

        return Errno.None;
    }

    private static IHvmContextSection? Find(Domain domain, ushort typeCode)
    {
        for (var i = 0; i < domain.CoreSections.Count; i++)
        {
            if (domain.CoreSections[i].TypeCode == typeCode)
            {
                return domain.CoreSections[i];
            }
        }

        return null;
    }

    private static Span<byte> Buffer(int length)
    {
        if (_buffer is null || _buffer.Length < length)
        {
            _buffer = new byte[length];
        }

        return _buffer;
    }
}
