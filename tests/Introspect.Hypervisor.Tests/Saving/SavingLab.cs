using System.Security.Cryptography;
using System.Text;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.Saving;

namespace Introspect.Hypervisor.Tests.Saving;

/// <summary>A machine with a domain on it that is to be saved, or was.</summary>
internal sealed class SavingLab : IDisposable
{
    private const long Reservation = 1L << 33;

    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    public SavingLab(PlatformOptions? platform = null, Func<Domain, string?>? refusesSaving = null, Action<Domain>? onPlatform = null)
    {
        platform ??= Repeatable();
        Machine = new Machine(new MachineOptions(Create, Reservation) { RefusesSaving = refusesSaving });
        Toolstack = new LocalToolstack(Machine, ToolstackCaller.Control);
        Hypervisor = new CoreHypervisor(Toolstack);

        DomainPlatform Create(Domain domain)
        {
            var made = new DomainPlatform(domain, platform);
            onPlatform?.Invoke(domain);
            return made;
        }
    }

    public Machine Machine { get; }

    public LocalToolstack Toolstack { get; }

    private StoppingWorld World => (StoppingWorld)Platform.World;

    public CoreHypervisor Hypervisor { get; }

    /// <summary>The domain that was built or restored last.</summary>
    public Domain Domain { get; private set; } = null!;

    public DomainPlatform Platform => (DomainPlatform)Domain.Platform;

    public ulong Retired
    {
        get
        {
            var sum = 0UL;
            foreach (var vcpu in Domain.Vcpus)
            {
                sum += vcpu.Runner.Retired;
            }

            return sum;
        }
    }

    /// <summary>Time is the instructions, vCPUs take turns.</summary>
    public static PlatformOptions Repeatable(long turn = 700) => new()
    {
        Interleaved = true,
        World = new StoppingWorld(turn),
    };

    /// <summary>Builds a guest, paused before its first instruction.</summary>
    public SavingLab Build(byte[] image, string? commandLine = null, uint vcpus = 1, int megabytes = 8, CpuVendor vendor = CpuVendor.Vmx, string name = "guest")
    {
        using var built = DomainUnderConstruction.Create(Toolstack, new DomainConfig
        {
            Name = name,
            Uuid = new Guid("0b2f3c4d-1111-2222-3333-444455556666"),
            MemoryBytes = (ulong)megabytes << 20,
            Vendor = vendor,
            Vcpus = vcpus,
        });
        Assert.True(ElfImage.TryParse(image, out var elf, out var error), error?.Message);
        Assert.True(PvhLoader.TryLoad(elf, new PvhBootOptions(commandLine), built, out var entry, out error), error?.Message);
        built.Start(entry.ToVcpuState());
        Domain = Machine.Find(built.Id.Value)!;
        return this;
    }

    /// <summary>Restores a saved domain; it is paused.</summary>
    public SavingLab Restore(byte[] saved, RestoreOptions? options = null)
    {
        Domain = DomainRestorer.Restore(Machine, new MemoryStream(saved), "saved", options).Domain;
        return this;
    }

    public byte[] Save(params SavedExtra[] extras)
    {
        using var stream = new MemoryStream();
        DomainSaver.Save(Domain, stream, extras);
        return stream.ToArray();
    }

    /// <summary>Lets it run until so many turns are over, or it has ended; afterwards it is paused.</summary>
    public void RunTurns(int turns)
    {
        World.Turns = turns;
        World.Stop = Domain.PauseNoSync;
        Assert.Equal(Errno.None, Domain.ControllerUnpause());
        Assert.True(SpinWait.SpinUntil(() => Domain.IsShutDown || World.Turns == 0, Patience), $"it retired {Retired}; console:\n{Console()}");
        Settle(hasStopped: World.Turns == 0);
    }

    /// <summary>Lets it run until it writes to its console the next time, in the middle of a turn.</summary>
    public void RunToWrite()
    {
        var stopped = 0;
        void Stop()
        {
            if (stopped == 0)
            {
                Domain.PauseNoSync();
                Volatile.Write(ref stopped, 1);
            }
        }

        Platform.Console.Written += Stop;
        Assert.Equal(Errno.None, Domain.ControllerUnpause());
        Assert.True(SpinWait.SpinUntil(() => Domain.IsShutDown || Volatile.Read(ref stopped) != 0, Patience), $"it wrote nothing: {Where()}; console:\n{Console()}");
        Platform.Console.Written -= Stop;
        Settle(Volatile.Read(ref stopped) != 0);
    }

    /// <summary>Lets it run until it has retired so many instructions or more, wherever that is.</summary>
    public void RunTo(ulong retired)
    {
        Assert.Equal(Errno.None, Domain.ControllerUnpause());
        Assert.True(SpinWait.SpinUntil(() => Domain.IsShutDown || Retired >= retired, Patience), $"it retired {Retired}; console:\n{Console()}");
        Assert.Equal(Errno.None, Domain.ControllerPause());
    }

    public void RunToEnd()
    {
        Assert.Equal(Errno.None, Domain.ControllerUnpause());
        Assert.True(SpinWait.SpinUntil(() => Domain.IsShutDown, Patience), $"it did not end: {Where()}; console:\n{Console()}");
        Assert.Null(Domain.Vcpus[0].Failure);
        Domain.Pause();
    }

    private void Settle(bool hasStopped)
    {
        Assert.Equal(Errno.None, Domain.ControllerPause());
        if (hasStopped)
        {
            Domain.Unpause();
        }
    }

    public void RunToEndUnlessEnded()
    {
        if (!Domain.IsShutDown)
        {
            RunToEnd();
        }
    }

    private string Where() => string.Join("; ", Domain.Vcpus.Select(v => $"vCPU {v.Id} {v.Flags} at 0x{v.Runner.State.Rip:x}, {v.Runner.Retired} retired, paused {v.PauseCount}+{Domain.PauseCount}, {v.Failure}")) + $" {Domain.Interleaver?.State}";

    public string Console()
    {
        var text = new StringBuilder();
        var position = 0UL;
        var buffer = new byte[4096];
        int count;
        while ((count = Toolstack.ReadConsole(Domain.Id.Value, ref position, buffer)) > 0)
        {
            text.Append(Encoding.ASCII.GetString(buffer, 0, count));
        }

        return text.ToString();
    }

    /// <summary>How it ended, to the last bit of memory and the last cycle.</summary>
    public string Outcome()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        for (ulong gfn = 0; Domain.Physmap.TryFindMapped(ref gfn); gfn++)
        {
            hash.AppendData(BitConverter.GetBytes(gfn));
            hash.AppendData(Machine.Memory.RestOfPage(Domain.Physmap[gfn].MachineAddress));
        }

        return $"{Domain.ShutdownReason} at {Platform.Clock.Cycles} memory {Convert.ToHexString(hash.GetHashAndReset())}\n{Console()}";
    }

    public void Dispose()
    {
        Hypervisor.Dispose();
        Machine.Dispose();
    }

    /// <summary>A repeatable world that can be told to stop the guest after some turns.</summary>
    private sealed class StoppingWorld(long turn) : IOutsideWorld
    {
        private readonly RepeatableWorld _world = new(1_700_000_000_000_000_000, seed: 7) { TurnInstructions = turn };
        private int _turns;

        public int Turns
        {
            get => Volatile.Read(ref _turns);
            set => Volatile.Write(ref _turns, value);
        }

        public Action? Stop { get; set; }

        public ulong MonotonicNanoseconds => _world.MonotonicNanoseconds;

        public ulong UnixNanoseconds => _world.UnixNanoseconds;

        public ulong RandomState
        {
            get => _world.RandomState;
            set => _world.RandomState = value;
        }

        public void FillRandom(Span<byte> destination) => _world.FillRandom(destination);

        public Turn NextTurn(uint last, ReadOnlySpan<uint> ready)
        {
            if (Turns == 1)
            {
                Stop!();
            }

            Turns = Math.Max(Turns - 1, 0);

            return _world.NextTurn(last, ready);
        }
    }
}
