using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Introspect.Benchmarks.Agent;

/// <summary>The agent in C, built when it is needed, where gcc is.</summary>
internal sealed unsafe class NativeAgent : IDisposable
{
    private readonly DirectoryInfo _directory;
    private readonly nint _library;
    private readonly delegate* unmanaged<RingState*, int, int> _answer;
    private readonly RingState* _ring;

    private NativeAgent(DirectoryInfo directory, nint page)
    {
        _directory = directory;
        _library = NativeLibrary.Load(Path.Combine(directory.FullName, "agent.so"));
        _answer = (delegate* unmanaged<RingState*, int, int>)NativeLibrary.GetExport(_library, "agent_answer");
        _ring = (RingState*)NativeMemory.AllocZeroed((nuint)sizeof(RingState));
        _ring->Page = page;
    }

    /// <summary>Builds it for a ring page; null with a word to the user where there is no gcc.</summary>
    public static NativeAgent? Build(nint page)
    {
        var directory = Directory.CreateTempSubdirectory("introspect-agent-");
        try
        {
            using var compiler = Process.Start("gcc",
                ["-O2", "-shared", "-fPIC", "-o", Path.Combine(directory.FullName, "agent.so"), Path.Combine(AppContext.BaseDirectory, "Agent", "agent.c")]);
            compiler.WaitForExit();
            return compiler.ExitCode == 0 ? new NativeAgent(directory, page) : throw new InvalidOperationException("gcc does not build agent.c: see above");
        }
        catch (System.ComponentModel.Win32Exception)
        {
            directory.Delete(true);
            return null;
        }
    }

    /// <summary>Answers what is in the ring.</summary>
    public int Answer(int descriptor) => _answer(_ring, descriptor);

    /// <summary>Goes on behind what somebody else answered.</summary>
    public void Skip(uint index) => _ring->RequestConsumer = _ring->ResponseProducer = index;

    public void Dispose()
    {
        NativeLibrary.Free(_library);
        NativeMemory.Free(_ring);
        _directory.Delete(true);
    }

    private struct RingState
    {
        public nint Page;
        public uint RequestConsumer;
        public uint ResponseProducer;
    }
}
