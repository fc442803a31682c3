namespace Introspect.Daemon.Tests.Guests;

/// <summary>The smallest guest that ends otherwise than by its own will: it says that it crashed, where it can, and faults without handlers.</summary>
internal static class TripleFaultGuest
{
    /// <summary>An ELF image with a PVH entry.</summary>
    /// <param name="tellsCrash">It writes viridian's crash register first.</param>
    public static byte[] Build(bool tellsCrash)
    {
        // mov ecx, 0x40000105; xor eax, eax; mov edx, 0x80000000; wrmsr
        byte[] tell = [0xb9, 0x05, 0x01, 0x00, 0x40, 0x31, 0xc0, 0xba, 0x00, 0x00, 0x00, 0x80, 0x0f, 0x30];
        return TinyElf.Build([.. tellsCrash ? tell : [], 0x0f, 0x0b]);
    }
}
