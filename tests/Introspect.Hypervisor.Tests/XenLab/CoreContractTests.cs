using Introspect.XenLab.Contract;

namespace Introspect.Hypervisor.Tests.XenLab;

/// <summary>The contract of the seam on the core, in process and over a socket; the lab runs the same checks on Xen.</summary>
public sealed class CoreContractTests
{
    public static TheoryData<string, CpuVendor, bool> Checks
    {
        get
        {
            var all = new TheoryData<string, CpuVendor, bool>();
            foreach (var name in SeamChecks.Names)
            {
                all.Add(name, CpuVendor.Vmx, false);
                all.Add(name, CpuVendor.Svm, false);
                all.Add(name, CpuVendor.Svm, true);
            }

            return all;
        }
    }

    [Theory]
    [MemberData(nameof(Checks))]
    public void Contract(string check, CpuVendor vendor, bool overSocket)
    {
        using var lab = new CoreLab(vendor, overSocket);
        SeamChecks.Run(check, lab);
    }
}
