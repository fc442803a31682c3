namespace Introspect.Daemon.Tests.Cli.Documentation;

/// <summary>The scripts in the shells that they are for.</summary>
public sealed class ShellCompletionTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-shell-").FullName;

    public static TheoryData<string, string> Lines => new()
    {
        { "introspect tr", "trace" },
        { "introspect lab ", "console create destroy dump-core list pause reboot restore save serve shutdown unpause --help --verbose -? -h" },
        { "introspect lab serve --fore", "--forever" },
        { "introspect --verbose trace --deny", "--deny-protection-clears" },
        { "introspect trace lab --reg", "--registers" },
        { "introspect trace --vendor ", "svm vmx" },
        { "introspect mem demo 0 --format r", "raw" },
        { "introspect trace --count ", "" },
        { "introspect completion f", "fish" },
        { "introspect run --config intro", "introspect.yaml introspective" },
    };

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [NeedsToolTheory("bash")]
    [MemberData(nameof(Lines))]
    public void bash_completes(string line, string words) => Assert.Equal(words, Complete(
        "bash", line, "source ./script; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _introspect; printf '%s\\n' \"${COMPREPLY[@]}\"", "--noprofile", "--norc"));

    // Its completion system runs at a terminal only; here the functions that a script calls say what they were given.
    [NeedsToolTheory("zsh")]
    [MemberData(nameof(Lines))]
    public void zsh_completes(string line, string words) => Assert.Equal(words, Complete(
        "zsh",
        line,
        """
        compdef() { : }
        said() { for one in "$@"; do [[ $one == ${words[CURRENT]}* ]] && print -r -- $one; done }
        compadd() { shift; said "$@" }
        _files() { said *(N) }
        _describe() { local -a given; given=(${(P)@[-1]}); said ${given%%:*} }
        words=("$@") CURRENT=$#
        source ./script
        _introspect
        """,
        "-f"));

    [NeedsToolTheory("fish")]
    [MemberData(nameof(Lines))]
    public void fish_completes(string line, string words)
    {
        // It offers options only to who began one.
        var expected = line.EndsWith(' ') ? string.Join(' ', words.Split(' ').Where(w => !w.StartsWith('-'))) : words;
        Assert.Equal(expected, Complete("fish", line, "source ./script; complete -C \"$argv[-1]\" | string split -f1 \\t", "--no-config"));
    }

    [Theory]
    [InlineData("bash")]
    [InlineData("zsh")]
    [InlineData("fish")]
    public void a_script_knows_every_command(string shell)
    {
        var script = Script(shell);
        foreach (var command in (string[])["trace", "run", "lab serve", "recover", "list", "regs", "mem", "disasm", "version", "completion"])
        {
            Assert.Contains($"' {command}'", script, StringComparison.Ordinal);
        }

        Assert.DoesNotContain(" man'", script, StringComparison.Ordinal);
    }

    [Fact]
    public void an_unknown_shell_is_one_line()
    {
        var (exitCode, output, error) = ManPageTests.Invoke("completion", "tcsh");
        Assert.Equal((2, ""), (exitCode, output));
        CommandLineTests.AssertOneLine(error);
        Assert.Contains("bash, zsh, fish", error, StringComparison.Ordinal);
    }

    private static string Script(string shell)
    {
        var (exitCode, output, error) = ManPageTests.Invoke("completion", shell);
        Assert.Equal((0, ""), (exitCode, error));
        return output;
    }

    // What a shell offers for a line, in a folder with three files, sorted.
    private string Complete(string shell, string line, string driver, params string[] options)
    {
        File.WriteAllText(Path.Combine(_folder, "script"), Script(shell));
        File.WriteAllText(Path.Combine(_folder, "introspect.yaml"), "");
        File.WriteAllText(Path.Combine(_folder, "introspective"), "");
        var file = Path.Combine(_folder, "driver");
        File.WriteAllText(file, "cd " + _folder + "\n" + driver + "\n");
        string[] words = shell == "fish" ? [line] : line.Split(' ');
        var (_, output, error) = Repository.Run(shell, [.. options, file, .. words]);
        Assert.Equal("", error);
        return string.Join(' ', output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Distinct().Order(StringComparer.Ordinal).OrderBy(w => w.StartsWith('-')));
    }
}
