using System.Runtime.InteropServices;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Responses;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Responses;

/// <summary>A response builder on mocks, without a pump around it.</summary>
internal sealed class Bench
{
    public Bench(
        Action<SubscriptionBuilder>? subscribe = null,
        MemoryAccessPolicy policy = MemoryAccessPolicy.Step,
        MonitorCapabilities capabilities = (MonitorCapabilities)0x3fff,
        int vcpus = 2,
        Action<MockDomain>? prepare = null)
    {
        Domain = new(vcpus);
        prepare?.Invoke(Domain);
        var subscription = new SubscriptionBuilder("bench");
        (subscribe ?? Everything)(subscription);
        var wishes = subscription.Build();
        Plan = SubscriptionPlan.Make([("bench", wishes)], capabilities);
        Stepper = new(Domain, Domain.Monitor, Plan, vcpus, Failed);
        Attachment = new(Domain.Monitor, Plan, Domain.Id, Stepper);
        Attachment.Attach(_ => { });
        Statistics = new(TimeProvider.System, []);
        Builder = new(Domain, Stepper, policy, Statistics, Failed);
        MayStep = wishes.MayStep;
    }

    public MockDomain Domain { get; }

    public SubscriptionPlan Plan { get; }

    public PumpAttachment Attachment { get; }

    public PumpStatistics Statistics { get; }

    public MemoryAccessStepper Stepper { get; }

    public ResponseBuilder Builder { get; }

    public bool MayStep { get; set; }

    public List<(string What, Errno Error)> Failures { get; } = [];

    /// <summary>Whether the last verdict had a meaning as a whole.</summary>
    public bool WasMeaningful { get; private set; }

    public static void Everything(SubscriptionBuilder subscription) => subscription
        .ControlRegister(ControlRegisterIndex.Cr0, mayDeny: true)
        .ControlRegister(ControlRegisterIndex.Cr3, mayDeny: true)
        .ControlRegister(ControlRegisterIndex.Cr4, mayDeny: true)
        .ControlRegister(ControlRegisterIndex.Xcr0)
        .Msr(0xc0000082, mayDeny: true)
        .Cpuid()
        .SoftwareBreakpoint()
        .DebugException()
        .GuestRequest()
        .Singlestep()
        .DescriptorAccess()
        .IoInstruction()
        .VmExit()
        .Memory(new(0x200), 2, MemAccessFlags.Write);

    /// <summary>The response to a request for a verdict.</summary>
    public VmEvent Answer(VmEvent request, Verdict verdict, HandleEvent? fill = null)
    {
        var response = request;
        var context = new HandlerContext(Domain, in request, ref response, default);
        fill?.Invoke(in request, ref context);
        WasMeaningful = Builder.Build(in request, verdict, MayStep, ref context, ref response);
        return response;
    }

    /// <summary>The two have the same 400 bytes; else the first that differs is named.</summary>
    public static void SameBytes(VmEvent expected, VmEvent actual)
    {
        var left = MemoryMarshal.AsBytes(MemoryMarshal.CreateReadOnlySpan(ref expected, 1));
        var right = MemoryMarshal.AsBytes(MemoryMarshal.CreateReadOnlySpan(ref actual, 1));
        var common = left.CommonPrefixLength(right);
        Xunit.Assert.True(
            common == left.Length,
            $"byte {common} of the response differs; flags {expected.Flags} expected, {actual.Flags} given; rip 0x{expected.Registers.Rip:x} expected, 0x{actual.Registers.Rip:x} given");
    }

    private void Failed(string what, HypervisorException refused) => Failures.Add((what, refused.Error));
}
