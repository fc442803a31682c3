using Introspect.Daemon.Configuration;
using Introspect.Daemon.Guests;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Daemon.Tests.Guests;

/// <summary>Guests' configurations: the form, the keys, and what is wrong with them.</summary>
public sealed class GuestConfigTests
{
    private const string Least = "name = 'a'; kernel = '/k'\n";

    [Fact]
    public void The_form_is_xls()
    {
        var config = Read("""
            # a comment
            name = "a b" ; vcpus=2
            kernel='/boot/its'
            memory = 0x20   # behind a value, too
            maxmem = 0100
            viridian = [   # over lines
              'base',

              "freq",
            ]
            extra = "one"
            extra += " two"
            root="/dev/xvda"
            viridian += [ "time_ref_count" ]
            """.Replace("\n", "\r\n", StringComparison.Ordinal)).Description;
        Assert.Equal("a b", config.Name);
        Assert.Equal(("/boot/its", 2u), (config.Kernel, config.Vcpus));
        Assert.Equal((32u * 1024, 64u * 1024), ((uint)config.MemoryKiB, (uint)config.MaxMemoryKiB));
        Assert.Equal("root=/dev/xvda one two", config.CommandLine);
        Assert.Equal("base freq time_ref_count", Features(config));
    }

    [Fact]
    public void Escapes_are_Cs() => Assert.Equal("a\"b'\\\t\nAB", Read("name='a'\nkernel='/k'\ncmdline = \"a\\\"b\\'\\\\\\t\\n\\x41\\102\"").Description.CommandLine);

    [Fact]
    public void What_is_not_said_is_as_xl_has_it()
    {
        var config = Read(Least).Description;
        Assert.Equal((32UL * 1024, 0UL, 1u), (config.MemoryKiB, config.MaxMemoryKiB, config.Vcpus));
        Assert.Equal((EndAction.Destroy, EndAction.Restart, EndAction.Destroy, EndAction.Destroy), (config.OnPoweroff, config.OnReboot, config.OnCrash, config.OnWatchdog));
        Assert.Equal((0UL, 0u, false, false, null), (config.Viridian, config.AltP2m, config.Svm, config.Interleaved, config.Uuid));
        Assert.Empty(config.WithoutCpuFeatures);
    }

    [Fact]
    public void Of_a_key_that_is_set_again_the_last_counts_and_settings_come_over_the_file()
    {
        var config = GuestConfigReader.Read([new("f", Least + "vcpus=2\nvcpus=3\nextra='a'"), new("'vcpus=4'", "vcpus=4"), new("'extra+=\"b\"'", "extra+=\"b\"")]);
        Assert.Equal((4u, "ab"), (config.Description.Vcpus, config.Description.CommandLine));
    }

    [Theory]
    [InlineData("name=", "1:6: the end of the file stands where a number, a text in quotes, or a list in brackets is expected")]
    [InlineData("name 'a'", "1:6: a string stands where '=' or '+=' is expected")]
    [InlineData("= 1", "1:1: '=' stands where a key is expected")]
    [InlineData("a = 1 2", "1:7: '2' stands where the end of the line or ';' is expected")]
    [InlineData("a = [ 1 2 ]", "1:9: '2' stands where ',' or ']' is expected")]
    [InlineData("a = [ 1,\n\nb = 2", "1:5: the list is not closed")]
    [InlineData("a = [ , ]", "1:7: ',' stands where a number")]
    [InlineData("a = 'b", "1:5: the text is not closed on its line: end it with '")]
    [InlineData("a = 'b\\q'", "1:7: there is no escape \\q")]
    [InlineData("a = '\\x4'", "1:6: a \\ with a number needs two hexadecimal digits")]
    [InlineData("a = '\\0'", "1:6: a \\ with a number needs octal digits")]
    [InlineData("  Name = 1", "1:3: 'N' does not belong here")]
    [InlineData("a = 1\n  b = -1", "2:7: '-' does not belong here")]
    [InlineData("a = [1]\na += 'x'", "2:6: 'a' is a list from f:1:5 on: add the same to it")]
    public void A_text_of_another_form_is_told_with_line_and_column(string text, string expected) =>
        Assert.Contains(Mistakes(text), mistake => mistake.StartsWith("f:" + expected, StringComparison.Ordinal));

    [Theory]
    [InlineData("memory = 'lots'", "1:10: memory: 'lots' is no number: write 4 to 1048576 MiB")]
    [InlineData("memory = 099", "1:10: memory: '099' is no number")]
    [InlineData("memory = 3", "1:10: memory: 3 is too small")]
    [InlineData("memory = 99999999999999999999", "is no number")]
    [InlineData("memory = [ 8 ]", "1:10: 'memory' is a list: write one text in quotes")]
    [InlineData("memory = 8\nmemory += 1", "2:11: 'memory' is a number, to which nothing can be added")]
    [InlineData("memory = 16; maxmem = 8", "maxmem: 8 MiB are less than memory, 16 MiB")]
    [InlineData("vcpus = 0", "vcpus: 0 is too small: write 1 to 128")]
    [InlineData("vcpus = 2; maxvcpus = 1", "maxvcpus: 1 are fewer than vcpus, 2")]
    [InlineData("name = ''", "name: a domain cannot be called so")]
    [InlineData("name = '12'", "name: a domain cannot be called so")]
    [InlineData("kernel = ''", "'kernel' is missing")]
    [InlineData("uuid = 'x'", "1:8: uuid: 'x' is none")]
    [InlineData("type = 'pv'", "type: 'pv' is not for this core: write pvh, or hvm with a kernel")]
    [InlineData("nestedhvm = 1", "nestedhvm: the core does not have it")]
    [InlineData("hap = 0", "hap: it cannot be turned off")]
    [InlineData("altp2m = 'some'", "altp2m: 'some' is unknown: write disabled, mixed, external, limited")]
    [InlineData("on_crash = 'explode'", "on_crash: 'explode' is unknown: write destroy, restart, rename-restart, preserve")]
    [InlineData("on_reboot = 'soft-reset'", "on_reboot: 'soft-reset' cannot be done")]
    [InlineData("cpuid = 'host,smepp=0'", "1:9: cpuid: there is no key 'smepp'; did you mean 'smep'?")]
    [InlineData("cpuid = 'host,family=3'", "cpuid: 'family' is the core's to choose")]
    [InlineData("cpuid = 'host,avx512f=1'", "cpuid: the core has no 'avx512f' to give")]
    [InlineData("cpuid = 'host,smep=2'", "cpuid: 'smep=2': write 0")]
    [InlineData("cpuid = 'smep=0'", "cpuid begins with 'smep=0'")]
    [InlineData("cpuid = [ '1:eax=1' ]", "1:11: cpuid: 'eax=1' is no register with its bits")]
    [InlineData("cpuid = [ 'one:eax=1' ]", "1:11: cpuid: 'one:eax=1' names no leaf")]
    [InlineData("cpuid = [ '1,2,3:eax=1' ]", "names no leaf")]
    [InlineData("cpuid = [ 'eax=1' ]", "names no leaf")]
    [InlineData("cpuid = [ [ '1:eax=1' ] ]", "1:11: cpuid: a list stands where a leaf in quotes is expected")]
    [InlineData("cpuid = [ '1:efx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' ]", "'efx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' is no register")]
    [InlineData("cpuid = [ '1:edx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxy' ]", "is no register")]
    [InlineData("cpuid = [ '1:eax=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0' ]", "cpuid: leaf 0x1 eax has no features, and is the core's to choose")]
    [InlineData("cpuid = [ '1,0:edx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0' ]", "leaf 0x1,0 edx has no features")]
    [InlineData("cpuid = [ 'x',\n'7:ebx=xxxxxxxxxxxxxxx1xxxxxxxxxxxxxxxx' ]", "2:1: cpuid: the core has nothing to give in bit 16 of leaf 0x7 ebx")]
    [InlineData("viridian = [ 'freq' ]", "viridian: ['freq'] is without 'base'")]
    [InlineData("viridian = [ 'base',\n'nonsense' ]", "2:1: viridian: 'nonsense' is not known")]
    [InlineData("viridian = [ [ 'base' ] ]", "1:14: viridian: a list stands where a name in quotes is expected")]
    public void A_value_that_cannot_be_is_told_with_what_is_expected(string text, string expected) =>
        Assert.Contains(Mistakes(text + "\n" + (text.Contains("name", StringComparison.Ordinal) ? "" : "name='a'\n") + (text.Contains("kernel", StringComparison.Ordinal) ? "" : "kernel='/k'")), mistake => mistake.Contains(expected, StringComparison.Ordinal));

    [Fact]
    public void All_mistakes_are_told_at_once_in_their_order()
    {
        var mistakes = Mistakes("memory = 1\nName = 2\nvcpus = 'x\non_crash = 'y'\nkernel = [\nuuid = 'z'");
        Assert.Equal(["f:1:10", "f:2:1", "f:3:9", "f:4:12", "f:5:10", "f:6:8"], mistakes.Select(mistake => mistake.Split(": ")[0]));
    }

    [Fact]
    public void What_is_missing_is_told() =>
        Assert.Equal(["f:1:1: 'name' is missing: write name = \"...\"", "f:1:1: 'kernel' is missing: name an ELF image with a PVH entry or a bzImage, or write \"builtin:demo\""], Mistakes("memory = 8"));

    [Fact]
    public void Unknown_keys_warn_once_by_name_and_in_order()
    {
        var warnings = Read(Least + "vif = []\ndisk = []\nvif = [ 'x' ]\nfirmware_override = '/f'").Warnings;
        Assert.Equal(["f:3:1: 'disk' means nothing to the lab, and is ignored", "f:4:1: 'vif' means nothing to the lab, and is ignored"], warnings);
    }

    [Theory]
    [InlineData("1", "base freq", "viridian=1 is deprecated")]
    [InlineData("0", "", "viridian=0 is deprecated")]
    [InlineData("'defaults'", "base freq time_ref_count apic_assist crash_ctl no_vp_limit cpu_hotplug", null)]
    [InlineData("'base, freq'", "base freq", null)]
    [InlineData("[ 'all', '!stimer' ]", "base freq time_ref_count reference_tsc hcall_remote_tlb_flush apic_assist crash_ctl synic hcall_ipi ex_processor_masks no_vp_limit cpu_hotplug", null)]
    [InlineData("[]", "", null)]
    public void Viridian_is_a_list_a_text_or_a_deprecated_boolean(string value, string features, string? warning)
    {
        var config = Read($"{Least}viridian = {value}");
        Assert.Equal(features, Features(config.Description));
        Assert.Equal(warning is null ? [] : [$"f:2:1: {warning}"], config.Warnings.Select(w => w.Split(" and means")[0]));
    }

    [Fact]
    public void Cpuid_takes_features_away()
    {
        Assert.Equal(["Smap", "Smep"], Read($"{Least}cpuid = 'host,smep=0,smap=0,avx512f=0,umip=0,umip=x,family=x,nx=1'").Description.WithoutCpuFeatures);
    }

    [Fact]
    public void Cpuid_in_xends_form_takes_the_same_features_away()
    {
        var other = Read($"{Least}cpuid = 'host,smep=0,sse3=0,x2apic=1,page1gb=0'").Description.WithoutCpuFeatures;
        Assert.Equal(["Page1Gb", "Smep", "Sse3"], other);
        Assert.Equal(other, Read($"""
            {Least}
            cpuid = [ "0x1:ecx={Bits((0, '0'), (21, '1'))},eax={Bits()}",
                      "7,0:ebx={Bits((7, '0'), (20, '0'), (16, '0'))}",
                      '0x80000001:edx={Bits((26, '0'))}', '0xd,1:eax={Bits((31, '0'))}' ]
            cpuid += [ "7:ebx={Bits((7, '0'), (20, 'k'))}" ]
            """).Description.WithoutCpuFeatures);

        static string Bits(params (int Bit, char Is)[] chosen) =>
            string.Concat(Enumerable.Range(0, 32).Select(at => chosen.FirstOrDefault(one => one.Bit == 31 - at) is { Is: not '\0' } found ? found.Is : 'x'));
    }

    [Theory]
    [InlineData("destroy", EndAction.Destroy)]
    [InlineData("restart", EndAction.Restart)]
    [InlineData("rename-restart", EndAction.RenameRestart)]
    [InlineData("preserve", EndAction.Preserve)]
    [InlineData("coredump-destroy", EndAction.CoredumpDestroy)]
    [InlineData("coredump-restart", EndAction.CoredumpRestart)]
    internal void Every_action_is_every_ends(string word, EndAction action)
    {
        var read = Read($"{Least}on_poweroff='{word}'; on_reboot='{word}'; on_crash='{word}'; on_watchdog='{word}'").Description;
        Assert.Equal((action, action, action, action), (read.OnPoweroff, read.OnReboot, read.OnCrash, read.OnWatchdog));
    }

    [Fact]
    public void Actions_altp2m_and_the_rest_are_taken_over()
    {
        var config = Read($"""
            {Least}
            type = "hvm"
            uuid = "0b2f3c4d-1111-2222-3333-444455556666"
            on_poweroff = "preserve"
            on_reboot = "destroy"
            on_crash = "rename-restart"
            on_watchdog = "restart"
            on_soft_reset = "soft-reset"
            altp2m = "external"; altp2m_count = 20
            nestedhvm = 0; hap = 1; pae = 1
            lab_vendor = "svm"; lab_interleaved = 1; lab_control = 1
            """);
        Assert.Empty(config.Warnings);
        var description = config.Description;
        Assert.Equal((EndAction.Preserve, EndAction.Destroy, EndAction.RenameRestart, EndAction.Restart), (description.OnPoweroff, description.OnReboot, description.OnCrash, description.OnWatchdog));
        Assert.Equal((2u, 20u, true, true, true), (description.AltP2m, description.AltP2mViews, description.Svm, description.Interleaved, description.IsControlDomain));
        Assert.Equal(new Guid("0b2f3c4d-1111-2222-3333-444455556666"), description.Uuid);
    }

    [Fact]
    public void Cmdline_says_all_and_what_it_hides_is_told()
    {
        var config = Read($"{Least}cmdline = 'quiet'\nroot = '/dev/xvda'\nextra = 'x'");
        Assert.Equal("quiet", config.Description.CommandLine);
        Assert.Equal(["f:3:1: 'root' is ignored, as 'cmdline' says all", "f:4:1: 'extra' is ignored, as 'cmdline' says all"], config.Warnings);
    }

    private static GuestConfig Read(string text) => GuestConfigReader.Read([new("f", text)]);

    private static IReadOnlyList<string> Mistakes(string text) => Assert.Throws<ConfigurationMistakes>(() => Read(text)).Mistakes;

    private static string Features(LabDescription description) =>
        ViridianFeatureSet.TryFromMask(description.Viridian, out var features) ? features.ToString() : throw new InvalidOperationException("no mask");
}
