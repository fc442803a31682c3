using System.Globalization;
using System.Text;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary>
/// An initramfs with one program of ours in it, which greets, and switches the machine off. An archive of the form newc is a
/// header of hexadecimal numbers, a name and the content for each file, all aligned to four bytes.
/// </summary>
internal static class TinyInitramfs
{
    public const string Greeting = "init of the tiny initramfs: arithmetic is right";

    private const int Executable = 0x81ed;
    private const int Folder = 0x41ed;
    private const int CharacterDevice = 0x2180;

    // Without a library: what it asks of the kernel, it asks itself.
    private const string Source = """
        static long call(long number, long a, long b, long c, long d)
        {
            long result;
            register long r10 __asm__("r10") = d;
            __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
            return result;
        }

        static const char right[] = "GREETING\n";
        static const char wrong[] = "init of the tiny initramfs: arithmetic is wrong\n";

        void _start(void)
        {
            volatile unsigned long sum = 0;
            volatile double half = 0;
            for (unsigned long i = 0; i < 1000; i++)
            {
                sum += i * i;
                half += 0.5;
            }

            if (WAITS)
            {
                for (;;)
                {
                    call(34 /* pause */, 0, 0, 0, 0);
                }
            }

            int good = sum == 332833500 && half == 500.0;
            long console = call(2 /* open */, (long)"/dev/console", 1, 0, 0);
            call(1 /* write */, console, (long)(good ? right : wrong), sizeof(right) - 1, 0);
            call(169 /* reboot */, 0xfee1dead, 0x28121969, 0x4321fedc /* power off */, 0);
            for (;;)
            {
            }
        }
        """;

    /// <summary>Makes it in a folder.</summary>
    /// <param name="folder">Where.</param>
    /// <param name="waits">The first program does nothing; the other one is what a kernel runs that is to power off.</param>
    public static string Build(string folder, bool waits = false)
    {
        using var archive = new MemoryStream();
        Add(archive, "dev", Folder, []);
        Add(archive, "dev/console", CharacterDevice, [], major: 5, minor: 1);
        Add(archive, "init", Executable, Compile(folder, waits));
        if (waits)
        {
            Add(archive, "sbin", Folder, []);
            Add(archive, "sbin/poweroff", Executable, Compile(folder, waits: false));
        }

        Add(archive, "TRAILER!!!", 0, []);
        var path = Path.Combine(folder, "initramfs");
        File.WriteAllBytes(path, archive.ToArray());
        return path;
    }

    private static byte[] Compile(string folder, bool waits)
    {
        var source = Path.Combine(folder, "init.c");
        var program = Path.Combine(folder, "init");
        File.WriteAllText(source, Source.Replace("GREETING", Greeting, StringComparison.Ordinal).Replace("WAITS", waits ? "1" : "0", StringComparison.Ordinal));
        var (exitCode, output, error) = Repository.Run(
            "gcc", ["-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie", "-Wl,--build-id=none", "-o", program, source]);
        Assert.True(exitCode == 0, output + error);
        return File.ReadAllBytes(program);
    }

    private static void Add(MemoryStream archive, string name, int mode, byte[] content, int major = 0, int minor = 0)
    {
        // Inode, mode, owner, group, links, time, size, device of the file and of what it stands for, length of the name, sum.
        int[] numbers = [(int)archive.Length + 1, mode, 0, 0, 1, 0, content.Length, 0, 0, major, minor, name.Length + 1, 0];
        archive.Write(Encoding.ASCII.GetBytes("070701" + string.Concat(numbers.Select(n => n.ToString("x8", CultureInfo.InvariantCulture)))));
        archive.Write(Encoding.ASCII.GetBytes(name + "\0"));
        Pad(archive);
        archive.Write(content);
        Pad(archive);
    }

    private static void Pad(MemoryStream archive) => archive.Write(new byte[-archive.Length & 3]);
}
