using System.Buffers.Binary;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Daemon.Tests.Cli;

/// <summary>Files that are no images that can be booted, each for one reason.</summary>
internal static class BadImages
{
    private const int MachineOffset = 18;
    private const ushort MachineArm = 40;

    /// <summary>A file's bytes; null where no file is to be made.</summary>
    public static byte[]? Make(string kind) => kind switch
    {
        "empty" => [],
        "text" => "#!/bin/sh\necho hello world, this is long enough to hold a header of any size\n"u8.ToArray(),
        "truncated" => DemoGuest.Build().Image[..200],
        "arm" => Patched(image => BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(MachineOffset), MachineArm)),
        "no-pvh" => Patched(RenameNotes),
        _ => null,
    };

    // The entry point stands in a note of Xen's; notes of anybody else mean nothing.
    private static void RenameNotes(byte[] image)
    {
        for (int at; (at = image.AsSpan().IndexOf("Xen\0"u8)) >= 0;)
        {
            image[at] = (byte)'Y';
        }
    }

    private static byte[] Patched(Action<byte[]> patch)
    {
        var image = DemoGuest.Build().Image;
        patch(image);
        return image;
    }
}
