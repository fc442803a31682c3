using System.ComponentModel.DataAnnotations;
using System.Diagnostics;
using System.Runtime.InteropServices;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Plugins;
using Introspect.TestPlugin.Needed;

[assembly: HandlerPlugin("test", typeof(Introspect.TestPlugin.TestPlugin), ApiVersion = PluginApi.Version)]

namespace Introspect.TestPlugin;

/// <summary>What the handler does with CPUID events of the leaf that it is told, and with writes of that value to CR4.</summary>
public enum Behaviour
{
    /// <summary>Passes all.</summary>
    Pass,

    /// <summary>Denies writes of CR4.</summary>
    Deny,

    /// <summary>Ends the process.</summary>
    Crash,

    /// <summary>Never answers.</summary>
    Hang,

    /// <summary>Answers late.</summary>
    Slow,

    /// <summary>Throws.</summary>
    Throw,

    /// <summary>Sets RAX to the leaf, negated.</summary>
    SetRegisters,

    /// <summary>Reads memory, asks for the domain and injects a trap.</summary>
    AskDomain,

    /// <summary>Throws when the handler is made.</summary>
    RefuseDomain,

    /// <summary>Uses a dependency when the handler is made.</summary>
    UseDependency,

    /// <summary>Takes memory without end.</summary>
    Leak,

    /// <summary>Takes memory without end that is not the runtime's.</summary>
    LeakNatively,

    /// <summary>Ends the process when its settings are made.</summary>
    CrashLoading,

    /// <summary>Ends the process when a handler is made.</summary>
    CrashCreating,

    /// <summary>Writes to its output what a terminal would obey, and a line that is very long.</summary>
    Print,

    /// <summary>Writes very much to its output before it answers.</summary>
    PrintMuch,

    /// <summary>Starts a process that holds its output when it has ended itself.</summary>
    CrashWithChild,

    /// <summary>Logs what a terminal would obey, and throws it.</summary>
    Steer,
}

/// <summary>What the tests say.</summary>
public sealed class TestOptions
{
    /// <summary>What to do.</summary>
    public Behaviour Behaviour
    {
        get;
        init
        {
            field = value;
            if (value == Behaviour.CrashLoading)
            {
                Console.WriteLine("last words");
                Environment.FailFast("as it was told");
            }
        }
    }

    /// <summary>The CPUID leaf that sets it off.</summary>
    public uint Leaf { get; init; } = 0xbad;

    /// <summary>How late.</summary>
    public TimeSpan Delay { get; init; } = TimeSpan.FromMilliseconds(50);

    /// <summary>A number with limits.</summary>
    [Range(1, 10)]
    public int Level { get; init; } = 5;

    /// <summary>Nested settings.</summary>
    public NestedOptions Nested { get; init; } = new();
}

/// <summary>Settings in settings.</summary>
public sealed class NestedOptions
{
    /// <summary>A list.</summary>
    public IReadOnlyList<ushort> Ports { get; init; } = [];
}

/// <summary>A plugin that misbehaves as it is told.</summary>
public sealed class TestPlugin : HandlerPlugin<TestOptions>
{
    /// <inheritdoc/>
    protected override IEventHandler Create(PluginContext context, TestOptions options) => options.Behaviour switch
    {
        Behaviour.RefuseDomain => throw new ArgumentException($"domain {context.Domain.Name} is not to its taste"),
        Behaviour.CrashCreating => Crash(),
        Behaviour.UseDependency => new TestHandler(context, options, NeededNumber()),
        _ => new TestHandler(context, options, 0),
    };

    private static TestHandler Crash()
    {
        Environment.FailFast("as it was told");
        throw new InvalidOperationException();
    }

    private static ulong NeededNumber() => Dependency.Secret;
}

internal sealed class TestHandler(PluginContext context, TestOptions options, ulong number) : IEventHandler
{
    private static readonly List<byte[]> Leaked = [];

    public string Name => context.Name;

    public void Subscribe(SubscriptionBuilder subscription) =>
        subscription.Cpuid().ControlRegister(ControlRegisterIndex.Cr4, mayDeny: true);

    public Verdict Handle(ref readonly VmEvent request, ref HandlerContext handler)
    {
        if (options.Behaviour == Behaviour.Deny)
        {
            return request.Reason == VmEventReason.WriteCtrlreg ? Verdict.Deny : Verdict.Pass;
        }

        var what = request.Reason == VmEventReason.WriteCtrlreg ? request.WriteCtrlreg.NewValue : request.Cpuid.Leaf;
        return what == options.Leaf ? Misbehave(in request, ref handler) : Verdict.Pass;
    }

    private Verdict Misbehave(ref readonly VmEvent request, ref HandlerContext handler)
    {
        switch (options.Behaviour)
        {
            case Behaviour.Crash:
                Environment.FailFast("as it was told");
                break;
            case Behaviour.Hang:
                Thread.Sleep(Timeout.Infinite);
                break;
            case Behaviour.Print:
                Console.Error.WriteLine("red \e[31m text\u202e");
                Console.WriteLine(new string('x', 100_000) + "end");
                Console.Out.Write("without an end");
                break;
            case Behaviour.PrintMuch:
                PrintMuch();
                break;
            case Behaviour.CrashWithChild:
                Process.Start("sleep", "120").Dispose();
                Environment.FailFast("as it was told");
                break;
            case Behaviour.Steer:
                context.Log(PluginLogLevel.Warning, "red \e[31m text\nnext");
                throw new InvalidDataException("red \e[31m text\nnext");
            case Behaviour.Slow:
                Thread.Sleep(options.Delay);
                break;
            case Behaviour.Throw:
                throw new InvalidDataException("as it was told");
            case Behaviour.SetRegisters:
                handler.Registers.Rax = ~(ulong)request.Cpuid.Leaf;
                return Verdict.Allow.WithRegisters();
            case Behaviour.AskDomain:
                return AskDomain(in request, ref handler);
            case Behaviour.UseDependency:
                handler.Registers.Rax = number;
                return Verdict.Allow.WithRegisters();
            case Behaviour.Leak:
                while (true)
                {
                    Leaked.Add(new byte[1 << 20]);
                }

            case Behaviour.LeakNatively:
                LeakNatively();
                break;
        }

        return Verdict.Pass;
    }

    // Far more than a pipe holds.
    private static void PrintMuch()
    {
        var line = new string('y', 99);
        for (var i = 0; i < 100_000; i++)
        {
            Console.WriteLine(line);
        }
    }

    private static void LeakNatively()
    {
        // It is never touched, and not without end, so that a machine without the limit takes no harm.
        for (var i = 0; i < 4096; i++)
        {
            Marshal.AllocHGlobal(1 << 20);
        }
    }

    private static Verdict AskDomain(ref readonly VmEvent request, ref HandlerContext handler)
    {
        var bytes = new byte[100_000];
        handler.Domain.Memory.ReadPhysical(new(0x1000), bytes);
        handler.Domain.Memory.WritePhysical(new(0x40000), bytes);
        ulong sum = 0;
        foreach (var b in bytes)
        {
            sum += b;
        }

        var refused = 0ul;
        try
        {
            handler.Domain.Memory.ReadPhysical(new(1UL << 40), bytes);
        }
        catch (HypervisorException e)
        {
            refused = (ulong)e.Error;
        }

        handler.Domain.InjectTrap(handler.Vcpu, new(6, 3, 0, TrapInjection.NoErrorCode, 0));
        handler.Registers.Rax = sum;
        handler.Registers.Rbx = refused;
        handler.Registers.Rcx = handler.Domain.GetInfo().MemoryBytes;
        return Verdict.Allow.WithRegisters();
    }
}
