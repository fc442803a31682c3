using System.Globalization;
using System.Text;

namespace Introspect.Hypervisor.Tests.Cpu.Bits;

/// <summary>Instructions in 16- and 32-bit modes, as text lines.</summary>
public sealed class TextCaseTests
{
    [Theory]
    [InlineData("RealMode.txt")]
    [InlineData("Protected16.txt")]
    [InlineData("Protected32.txt")]
    [InlineData("LongMode.txt")]
    public void Each_line_of_the_file_does_what_it_says(string file)
    {
        var cases = TextCase.Parse(File.ReadLines(Path.Combine(AppContext.BaseDirectory, "Cpu", "Bits", file)));
        Assert.NotEmpty(cases);
        using var runner = new TextCaseRunner();
        var failures = new StringBuilder();
        foreach (var test in cases)
        {
            var failure = runner.Run(test);
            if (failure != null)
            {
                failures.Append(CultureInfo.InvariantCulture, $"\n{file}({test.Line}): {test.Assembly}: {failure}");
            }
        }

        Assert.True(failures.Length == 0, failures.ToString());
    }
}
