using System.Diagnostics;
using System.Globalization;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Xen;

namespace Introspect.XenLab.Contract;

/// <summary>Domains of real Xen, by xl.</summary>
internal sealed class XlLab(IHypervisor hypervisor, CpuVendor vendor) : IContractLab
{
    /// <summary>The lab on the Xen under this dom0; null, and why, where there is none to be had.</summary>
    public static XlLab? TryOpenXen(out string refusal)
    {
        try
        {
            // The emulator plays AMD's virtualisation.
            refusal = "";
            return new XlLab(XenHypervisor.Open(), CpuVendor.Svm);
        }
        catch (HypervisorException e)
        {
            refusal = e.Message;
            return null;
        }
    }

    public IHypervisor Hypervisor => hypervisor;

    public CpuVendor Vendor => vendor;

    public DomainId Create(string name, byte[] image)
    {
        var kernel = Path.Combine(Path.GetTempPath(), name + ".elf");
        var configuration = Path.Combine(Path.GetTempPath(), name + ".cfg");
        File.WriteAllBytes(kernel, image);

        // RDTSCP and XSAVE are what the lab's emulator gets wrong: no guest of ours uses them.
        File.WriteAllText(configuration, $"""
            name = "{name}"
            type = "pvh"
            kernel = "{kernel}"
            memory = 16
            maxmem = 16
            vcpus = 1
            cpus = "1"
            tsc_mode = "native"
            cpuid = "host,xsave=0"
            on_poweroff = "preserve"
            on_reboot = "preserve"
            on_crash = "preserve"

            """);
        Xl("create", "-p", configuration);
        return new(ushort.Parse(Xl("domid", name), CultureInfo.InvariantCulture));
    }

    public void Start(DomainId domain) => Xl("unpause", domain.Value.ToString(CultureInfo.InvariantCulture));

    public void Destroy(DomainId domain) => Xl("destroy", domain.Value.ToString(CultureInfo.InvariantCulture));

    public void Dispose() => hypervisor.Dispose();

    private static string Xl(params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo("xl", arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? output.Trim()
            : throw new InvalidOperationException($"xl {string.Join(' ', arguments)}: {error.GetAwaiter().GetResult().Trim()}");
    }
}
