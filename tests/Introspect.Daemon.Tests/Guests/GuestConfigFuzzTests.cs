using System.Globalization;
using System.Text;
using Introspect.Daemon.Guests;

namespace Introspect.Daemon.Tests.Guests;

/// <summary>
/// Damaged configurations by the thousand: each is read, or its mistakes are told with their places; nothing else is thrown,
/// and reading ends. INTROSPECT_FUZZ_INPUTS=N makes N inputs.
/// </summary>
public sealed class GuestConfigFuzzTests
{
    private const int Seed = 20_240_607;

    private static readonly string[] Whole =
    [
        "name = \"demo\"\ntype = \"pvh\"\nkernel = '/boot/vmlinuz' # it\nmemory = 0x40; vcpus = 2\n",
        "name='a'\nkernel='k'\nviridian = [ \"base\",\n  'freq', # two\n]\nviridian += [ \"all\", '!stimer' ]\n",
        "name='a'\nkernel='k'\ncpuid = \"host,smep=0,family=x,avx2=1\"\non_crash='preserve'\non_reboot=\"rename-restart\"\nextra='a\\x41\\102\\n'\nextra+=\" b\"\n",
        "uuid = \"0b2f3c4d-1111-2222-3333-444455556666\"\nmaxmem=64\nmaxvcpus=4\naltp2m='external'\naltp2mhvm=1\nnested = [[1,2],[[3]],[]]\nroot='/dev/xvda'\nhap=1\n",
        "name='a'\nkernel='k'\ncpuid = [ '1:ecx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0,edx=kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk',\n '0xd,1:eax=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' ]\non_crash='coredump-restart'\nlab_control=0\n",
    ];

    // What the form and the keys are made of, and what breaks texts elsewhere.
    private static readonly string[] Words =
    [
        "=", "+=", "[", "]", ",", ";", "\n", "\r\n", "#", "'", "\"", "\\", "\\x", "\\777", " ", "\t", "\0", "\u00e9", "\ud800", "0x", "0", "09", "-1",
        "99999999999999999999", "name", "kernel", "memory", "viridian", "cpuid", "on_crash", "uuid", "builtin:demo", "[[[[[[[[", "base", "!base", "defaults", "host,", "X", "a.b",
    ];

    [Fact]
    public void Damaged_configurations_are_read_or_told_of()
    {
        var inputs = int.TryParse(Environment.GetEnvironmentVariable("INTROSPECT_FUZZ_INPUTS"), CultureInfo.InvariantCulture, out var asked) ? asked : 50_000;
        var random = new Random(Seed);
        var (read, refused) = (0, 0);
        for (var n = 0; n < inputs; n++)
        {
            var text = Damage(Whole[random.Next(Whole.Length)], random);
            try
            {
                if (GuestConfigReader.TryRead([new("f", text), new("'s'", "vcpus=1")], out var mistakes) is not null)
                {
                    read++;
                }
                else if (++refused > 0 && (mistakes.Count == 0 || !mistakes.All(mistake => HasPlace(mistake, text))))
                {
                    Assert.Fail($"input {n} ('{text}'): {string.Join(" | ", mistakes)}");
                }
            }
            catch (Xunit.Sdk.FailException)
            {
                throw;
            }
            catch (Exception e)
            {
                Assert.Fail($"input {n} ('{text}'): {e}");
            }
        }

        // The damage is neither so slight nor so great that one of the two ways goes untried.
        Assert.True(read > inputs / 100 && refused > inputs / 10, $"{read} read, {refused} refused");
    }

    [Fact]
    public void A_text_without_end_takes_no_time_without_end()
    {
        foreach (var piece in new[] { "a+='xxxxxxxx'\n", "a+=[1,2,3]\n", "[", "a=[", "a=\n", "'", "a='\\", "\"\n", "A", ";", "a=[[]]\n", "name=1\n" })
        {
            var text = new StringBuilder().Insert(0, piece, (1 << 18) / piece.Length).ToString();
            Assert.Null(GuestConfigReader.TryRead([new("f", text)], out var mistakes));
            Assert.InRange(mistakes.Count, 1, 101);
        }
    }

    // f:LINE:COLUMN: what, in one line, and within the text.
    private static bool HasPlace(string mistake, string text)
    {
        var parts = mistake.Split(':', 4);
        return parts.Length == 4 && !mistake.Contains('\n', StringComparison.Ordinal)
            && int.TryParse(parts[1], CultureInfo.InvariantCulture, out var line) && line >= 1 && line <= text.Count(c => c == '\n') + 1
            && int.TryParse(parts[2], CultureInfo.InvariantCulture, out var column) && column >= 1;
    }

    private static string Damage(string whole, Random random)
    {
        var text = new StringBuilder(whole);
        for (var n = random.Next(4); n >= 0; n--)
        {
            var at = random.Next(text.Length + 1);
            switch (random.Next(5))
            {
                case 0:
                    text.Insert(at, Words[random.Next(Words.Length)]);
                    break;
                case 1 when at < text.Length:
                    text.Remove(at, Math.Min(random.Next(1, 8), text.Length - at));
                    break;
                case 2 when at < text.Length:
                    text[at] = (char)random.Next(0x100);
                    break;
                case 3:
                    text.Insert(at, Whole[random.Next(Whole.Length)]);
                    break;
                case 4 when at > 0:
                    text.Length = at;
                    break;
            }
        }

        return text.ToString();
    }
}
