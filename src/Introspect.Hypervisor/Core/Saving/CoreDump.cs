using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;

namespace Introspect.Hypervisor.Core.Saving;

/// <summary>
/// Writes what a domain is at one moment for a debugger: an ELF file in the format of <c>xl dump-core</c> (Xen's
/// <c>dump-core-format.txt</c>, version 0.1). Its sections hold the vCPUs, the shared info page, all pages and their frame numbers.
/// A domain that ended can be dumped, and one that is monitored: nothing of it is changed.
/// </summary>
internal sealed class CoreDump : IDisposable
{
    private const int PagesAtOnce = 256;

    private readonly Domain _domain;
    private readonly List<ulong> _frames = [];
    private readonly byte[] _sharedInfo = new byte[Gfn.PageSize];
    private VcpuGuestContext[] _vcpus = [];

    private CoreDump(Domain domain)
    {
        _domain = domain;
        using var _ = domain.Machine.ControlLock.EnterScope();
        if (domain.IsDying)
        {
            throw new HypervisorException(Errno.ESRCH, $"domain {domain.Id} is being destroyed: nothing of it can be dumped");
        }

        domain.Pause();
        try
        {
            (domain.Platform as DomainPlatform)?.DrainConsoleRing();
            TakeFrames();
            TakeVcpus();
            domain.Machine.Memory.RestOfPage(domain.SharedInfoAddress)[..Gfn.PageSize].CopyTo(_sharedInfo);
        }
        catch
        {
            domain.Unpause();
            throw;
        }
    }

    /// <summary>Dumps a domain, which stands still meanwhile.</summary>
    /// <exception cref="HypervisorException">It was destroyed meanwhile, or cannot be read.</exception>
    public static void Write(Domain domain, Stream stream)
    {
        using var dump = new CoreDump(domain);
        CoreDumpFile.WriteHead(stream, dump._vcpus, dump._sharedInfo, dump._frames.Count);
        dump.WritePages(stream);
        CoreDumpFile.WriteTail(stream, CollectionsMarshal.AsSpan(dump._frames));
    }

    /// <summary>The domain goes on.</summary>
    public void Dispose()
    {
        using var _ = _domain.Machine.ControlLock.EnterScope();
        if (!_domain.IsDying)
        {
            _domain.Unpause();
        }
    }

    /// <summary>A vCPU in the form that Xen's toolstack gets (<c>XEN_DOMCTL_getvcpucontext</c>).</summary>
    internal static VcpuGuestContext Convert(in HvmHwCpu cpu)
    {
        VcpuGuestContext context = default;
        MemoryMarshal.AsBytes(new ReadOnlySpan<HvmHwCpu>(in cpu))[..VcpuGuestContext.FpuBytes].CopyTo(MemoryMarshal.AsBytes(new Span<VcpuGuestContext>(ref context)));
        context.Flags = VcpuGuestContext.FlagOnline | ((cpu.Flags & HvmHwCpu.FpuInitialised) != 0 ? VcpuGuestContext.FlagFpuValid : 0);
        context.UserRegs = new CpuUserRegs
        {
            R15 = cpu.R15,
            R14 = cpu.R14,
            R13 = cpu.R13,
            R12 = cpu.R12,
            Rbp = cpu.Rbp,
            Rbx = cpu.Rbx,
            R11 = cpu.R11,
            R10 = cpu.R10,
            R9 = cpu.R9,
            R8 = cpu.R8,
            Rax = cpu.Rax,
            Rcx = cpu.Rcx,
            Rdx = cpu.Rdx,
            Rsi = cpu.Rsi,
            Rdi = cpu.Rdi,
            Rip = cpu.Rip,
            Cs = (ushort)cpu.CsSel,
            Rflags = cpu.Rflags,
            Rsp = cpu.Rsp,
            Ss = (ushort)cpu.SsSel,
            Es = (ushort)cpu.EsSel,
            Ds = (ushort)cpu.DsSel,
            Fs = (ushort)cpu.FsSel,
            Gs = (ushort)cpu.GsSel,
        };
        (context.Cr0, context.Cr2, context.Cr3, context.Cr4) = (cpu.Cr0, cpu.Cr2, cpu.Cr3, cpu.Cr4);
        (context.Dr0, context.Dr1, context.Dr2, context.Dr3, context.Dr6, context.Dr7) = (cpu.Dr0, cpu.Dr1, cpu.Dr2, cpu.Dr3, cpu.Dr6, cpu.Dr7);
        context.FsBase = cpu.FsBase;

        // In the kernel the base in use is the kernel's; the other one waits for SWAPGS.
        var isKernel = ((cpu.SsArbytes >> 5) & 3) == 0;
        (context.GsBaseKernel, context.GsBaseUser) = isKernel ? (cpu.GsBase, cpu.ShadowGs) : (cpu.ShadowGs, cpu.GsBase);
        return context;
    }

    private void TakeFrames()
    {
        DomainPages.TakeFromParents(_domain);
        for (ulong gfn = 0; _domain.Physmap.TryFindMapped(ref gfn); gfn++)
        {
            if (_domain.Machine.Memory.FindExtent(_domain.Physmap[gfn].MachineAddress) is not null)
            {
                _frames.Add(gfn);
            }
        }
    }

    private void TakeVcpus()
    {
        var context = new byte[State.HvmContext.MaxSize(_domain)];
        ReadOnlySpan<byte> rest = context.AsSpan(0, State.HvmContext.Save(_domain, context));
        var found = new List<VcpuGuestContext>();
        while (MemoryMarshal.TryRead<HvmSaveDescriptor>(rest, out var descriptor) && descriptor.TypeCode != HvmSaveCode.End)
        {
            rest = rest[Marshal.SizeOf<HvmSaveDescriptor>()..];
            if (descriptor.TypeCode == HvmSaveCode.Cpu)
            {
                found.Add(Convert(in MemoryMarshal.AsRef<HvmHwCpu>(rest)));
            }

            rest = rest[(int)descriptor.Length..];
        }

        _vcpus = [.. found];
    }

    private void WritePages(Stream stream)
    {
        var buffer = new byte[PagesAtOnce * Gfn.PageSize];
        for (var done = 0; done < _frames.Count;)
        {
            var count = 1;
            while (count < PagesAtOnce && done + count < _frames.Count && _frames[done + count] == _frames[done] + (ulong)count)
            {
                count++;
            }

            var part = buffer.AsSpan(0, count * Gfn.PageSize);
            DomainPages.Read(_domain, _frames[done], part);
            stream.Write(part);
            done += count;
        }
    }
}
