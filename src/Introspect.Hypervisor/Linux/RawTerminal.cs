namespace Introspect.Hypervisor.Linux;

/// <summary>A terminal that hands over every key as it is typed, and shows none, until it is disposed.</summary>
internal sealed unsafe class RawTerminal : IDisposable
{
    private const int Input = 0;
    private const int WhenDrained = 1;

    // Larger than any C library's struct termios.
    private const int SettingsBytes = 256;

    private readonly byte[] _before = new byte[SettingsBytes];

    private RawTerminal()
    {
    }

    /// <summary>Makes the terminal at stdin raw; null where there is none.</summary>
    public static RawTerminal? TryEnter()
    {
        var terminal = new RawTerminal();
        var settings = stackalloc byte[SettingsBytes];

        // SAFETY: the C library reads and writes a structure that is smaller than the buffers, which stay where they are.
        fixed (byte* before = terminal._before)
        {
            if (Libc.TcGetAttr(Input, before) != 0)
            {
                return null;
            }

            terminal._before.CopyTo(new Span<byte>(settings, SettingsBytes));
            Libc.CfMakeRaw(settings);
            return Libc.TcSetAttr(Input, WhenDrained, settings) == 0 ? terminal : null;
        }
    }

    /// <summary>It is as it was.</summary>
    public void Dispose()
    {
        // SAFETY: as above.
        fixed (byte* before = _before)
        {
            _ = Libc.TcSetAttr(Input, WhenDrained, before);
        }
    }
}
