namespace Introspect.Daemon.Sinks.Otlp;

/// <summary>Reads a collector's answer, ExportLogsServiceResponse: how many records it did not want.</summary>
internal static class OtlpAnswer
{
    private const int PartialSuccess = 1;
    private const int RejectedRecords = 1;

    /// <summary>The number of rejected records; 0 also where the answer makes no sense.</summary>
    public static long Rejected(ReadOnlySpan<byte> answer)
    {
        while (Next(ref answer, out var field, out _, out var content))
        {
            if (field != PartialSuccess)
            {
                continue;
            }

            while (Next(ref content, out field, out var number, out _))
            {
                if (field == RejectedRecords)
                {
                    return (long)number;
                }
            }
        }

        return 0;
    }

    private static bool Next(ref ReadOnlySpan<byte> message, out int field, out ulong number, out ReadOnlySpan<byte> content)
    {
        content = default;
        number = 0;
        field = 0;
        if (!Number(ref message, out var key))
        {
            return false;
        }

        field = (int)(key >> 3);
        switch (key & 7)
        {
            case 0:
                return Number(ref message, out number);
            case 1:
                return Take(ref message, sizeof(ulong), out content);
            case 2:
                return Number(ref message, out var length) && Take(ref message, length, out content);
            case 5:
                return Take(ref message, sizeof(uint), out content);
            default:
                return false;
        }
    }

    private static bool Take(ref ReadOnlySpan<byte> message, ulong length, out ReadOnlySpan<byte> content)
    {
        content = default;
        if (length > (ulong)message.Length)
        {
            return false;
        }

        content = message[..(int)length];
        message = message[(int)length..];
        return true;
    }

    private static bool Number(ref ReadOnlySpan<byte> message, out ulong value)
    {
        value = 0;
        for (var shift = 0; shift < 64 && message.Length != 0; shift += 7)
        {
            var next = message[0];
            message = message[1..];
            value |= (ulong)(next & 0x7f) << shift;
            if (next < 0x80)
            {
                return true;
            }
        }

        return false;
    }
}
