using Introspect.Hypervisor.Tests.Recovery;

namespace Introspect.Hypervisor.Tests;

/// <summary>The tests as a program: what they need processes of their own for.</summary>
internal static class TestProcess
{
    private static int Main(string[] arguments) => arguments switch
    {
        [DoomedMonitor.Verb, var socket, var frame] => DoomedMonitor.Run(socket, ulong.Parse(frame)),
        _ => throw new ArgumentException("run the tests with 'dotnet test'"),
    };
}
