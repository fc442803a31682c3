using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary><c>__HYPERVISOR_console_io</c>.</summary>
internal static class GuestConsoleIo
{
    private const int ChunkBytes = 4096;

    // Written in one go; the guest comes back for the rest.
    private const uint BatchBytes = 64 * 1024;

    /// <summary>Does the call: A1 is the command, A2 the count of bytes, A3 the buffer.</summary>
    public static HypercallResult Do(in HypercallArguments call, IGuestHypercallContext context)
    {
        var count = (uint)call.A2;
        return (uint)call.A1 switch
        {
            ConsoleIo.Write => Write(call, context, call.A3, count),

            ConsoleIo.Read => !DomainPolicies.MayReadConsole(context.Roles) ? -(long)Errno.EPERM
                : count > int.MaxValue ? -(long)Errno.E2BIG
                : Read(context, call.A3, count),
            _ => -(long)Errno.ENOSYS,
        };
    }

    private static HypercallResult Write(in HypercallArguments call, IGuestHypercallContext context, ulong buffer, uint count)
    {
        var batch = Math.Min(count, BatchBytes);
        Span<byte> chunk = stackalloc byte[ChunkBytes];
        for (var done = 0u; done < batch;)
        {
            var part = chunk[..(int)Math.Min(batch - done, ChunkBytes)];
            if (!context.CopyFromGuest(buffer + done, part))
            {
                return -(long)Errno.EFAULT;
            }

            done += (uint)part.Length;
            context.Console.Write(DomainPolicies.WritesRawConsole(context.Roles) ? part : Printable(part));
        }

        return batch == count
            ? 0
            : HypercallResult.ContinueWith(call with { A2 = count - batch, A3 = buffer + batch });
    }

    /// <summary>What a terminal shows: a guest's control characters would write over the lines of others.</summary>
    private static ReadOnlySpan<byte> Printable(Span<byte> text)
    {
        var kept = 0;
        foreach (var b in text)
        {
            if (b is (byte)'\n' or (byte)'\t' or (>= 0x20 and not 0x7F))
            {
                text[kept++] = b;
            }
        }

        return text[..kept];
    }

    private static long Read(IGuestHypercallContext context, ulong buffer, uint count)
    {
        Span<byte> chunk = stackalloc byte[ChunkBytes];
        var done = 0L;
        while (done < count)
        {
            var taken = context.Console.TakeInput(chunk[..(int)Math.Min(count - done, ChunkBytes)]);
            if (taken == 0)
            {
                break;
            }

            if (!context.CopyToGuest(buffer + (ulong)done, chunk[..taken]))
            {
                return -(long)Errno.EFAULT;
            }

            done += taken;
        }

        return done;
    }
}
