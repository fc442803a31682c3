using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Ring;
using Introspect.Hypervisor.Tests.Building;

namespace Introspect.Hypervisor.Tests.Ring;

/// <summary>The monitor's side speaks every interface version with a hypervisor's side in C.</summary>
public sealed unsafe class VersionedMonitorRingTests : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("introspect-versions-");
    private readonly byte* _page = (byte*)NativeMemory.AlignedAlloc(SharedRing.PageSize, SharedRing.PageSize);

    [TheoryWithTools(CGuestBuilder.Compiler)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(7)]
    public void A_ringful_goes_both_ways_in_every_version(uint version)
    {
        var hypervisor = Build(version);
        SharedRing.InitialisePage((nint)_page);
        new Span<byte>(_page + SharedRing.FirstSlot, SharedRing.PageSize - SharedRing.FirstSlot).Fill(0xCC);
        Assert.Equal(0u, VersionedMonitorRing.Detect((nint)_page));
        Exchange(hypervisor, "put");
        Assert.Equal(version, VersionedMonitorRing.Detect((nint)_page));

        var ring = new VersionedMonitorRing((nint)_page, version);
        Assert.Equal(8, ring.Ring.Slots);
        for (uint n = 0; n < 8; n++)
        {
            Assert.Equal(RingStatus.Taken, ring.Take(out var request));
            CheckHeader(in request, n);
            CheckRegisters(in request, version, n);
            CheckUnion(in request, version);
            Answer(ring, request);
        }

        Assert.Equal(RingStatus.Empty, ring.Take(out _));
        Assert.Equal(0, ring.Malformed);
        ring.Push();
        Exchange(hypervisor, "check");
    }

    [Fact]
    public void A_request_of_another_version_gives_its_slot_back()
    {
        SharedRing.InitialisePage((nint)_page);
        var hypervisor = new HypervisorRing((nint)_page, 384);
        var raw = new byte[384];
        raw[0] = 5;
        hypervisor.Put(raw);
        hypervisor.Push();
        var ring = new VersionedMonitorRing((nint)_page, 6);
        Assert.Equal(RingStatus.Empty, ring.Take(out _));
        Assert.Equal(1, ring.Malformed);
        ring.Push();
        Assert.Equal(RingStatus.Taken, hypervisor.Take(raw));
        Assert.Equal(8, hypervisor.FreeRequests);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(8)]
    public void A_version_that_nobody_published_is_refused(uint version) =>
        Assert.Equal(Errno.EOPNOTSUPP, Assert.Throws<HypervisorException>(() => new VersionedMonitorRing((nint)_page, version)).Error);

    public void Dispose()
    {
        NativeMemory.AlignedFree(_page);
        _directory.Delete(true);
    }

    private static void CheckHeader(in VmEvent request, uint n)
    {
        Assert.Equal(VmEvent.InterfaceVersion, request.Version);
        Assert.Equal(VmEventFlags.VcpuPaused, request.Flags);
        Assert.Equal(n, request.VcpuId);
        Assert.Equal(n + 100, request.AltP2mIndex);
    }

    private static void CheckRegisters(in VmEvent request, uint version, uint n)
    {
        var r = request.Registers;
        Assert.Equal((0x1000ul + n, 0x1500ul + n, 0x202ul, 0x400ul), (r.Rax, r.R15, r.Rflags, r.Dr7));
        Assert.Equal((0xffffffff81000000 + n, 0x80050033ul, 0x3406e0ul), (r.Rip, r.Cr0, r.Cr4));
        Assert.Equal((0xd01ul, 0xffffffff82000000, 0x7f0000001000ul, 0xffff888000000000), (r.MsrEfer, r.MsrLstar, r.FsBase, r.GsBase));
        Assert.Equal(0xa9bu, r.Cs.AccessRights);
        if (version >= 4)
        {
            Assert.Equal((0xffff0ff0ul, 0xfffffu, 0x7f0000002000ul), (r.Dr6, r.Cs.Limit, r.ShadowGs));
            Assert.Equal((0x18, 0x2b), (r.SsSel, r.GsSel));
        }

        if (version >= 5)
        {
            Assert.Equal((0xfffffe0000001000, 0x7f), (r.GdtrBase, r.GdtrLimit));
        }
    }

    private static void CheckUnion(in VmEvent request, uint version)
    {
        switch (request.Reason)
        {
            case VmEventReason.MemAccess:
                var access = request.MemAccess;
                Assert.Equal((0x1234ul, 0x567ul, 0x7fff1234567ul, 0x1au), (access.Gfn, access.Offset, access.Gla, (uint)access.Flags));
                break;
            case VmEventReason.WriteCtrlreg:
                var write = request.WriteCtrlreg;
                Assert.Equal((ControlRegisterIndex.Cr4, 0x2006e0ul, 0x3406e0ul), (write.Index, write.NewValue, write.OldValue));
                break;
            case VmEventReason.MovToMsr:
                var msr = request.MovToMsr;
                Assert.Equal((0xc0000082ul, 0xabcul, version >= 3 ? 0xdeful : 0), (msr.Msr, msr.NewValue, msr.OldValue));
                break;
            case VmEventReason.SoftwareBreakpoint:
                var debug = request.Debug;
                Assert.Equal(
                    (0x77ul, version >= 2 ? 1u : 0, version >= 2 ? 6 : 0, version >= 6 ? 0x4000ul : 0),
                    (debug.Gfn, debug.InsnLength, debug.Type, debug.PendingDbg));
                break;
            case VmEventReason.Singlestep:
                Assert.Equal(0x88ul, request.Debug.Gfn);
                break;
            default:
                Assert.Equal(VmEventReason.GuestRequest, request.Reason);
                break;
        }
    }

    private static void Answer(VersionedMonitorRing ring, VmEvent request)
    {
        switch (request.Reason)
        {
            case VmEventReason.MemAccess:
                request.Flags |= VmEventFlags.Emulate | VmEventFlags.SetEmulReadData;
                request.EmulReadSize = 16;
                var data = MemoryMarshal.AsBytes(new Span<VmEvent>(ref request))[60..];
                for (var n = 0; n < 16; n++)
                {
                    data[n] = (byte)(0xa0 + n);
                }

                break;
            case VmEventReason.WriteCtrlreg:
                request.Flags |= VmEventFlags.Deny;
                break;
            case VmEventReason.GuestRequest when request.VcpuId == 5:
                request.Flags |= VmEventFlags.SetRegisters;
                request.Registers.Rip += 3;
                request.Registers.R15 = 0xbeef;
                break;
            default:
                break;
        }

        ring.Put(in request);
    }

    private string Build(uint version)
    {
        var program = Path.Combine(_directory.FullName, "hypervisor");
        var source = Path.Combine(AppContext.BaseDirectory, "Ring", "Versions", "hypervisor.c");
        var (code, output) = ExternalTool.Run(CGuestBuilder.Compiler, ["-std=c11", "-Wall", "-Wextra", "-Werror", $"-DVERSION={version}", "-o", program, source]);
        Assert.True(code == 0, output);
        return program;
    }

    private void Exchange(string program, string verb)
    {
        var file = Path.Combine(_directory.FullName, "page");
        File.WriteAllBytes(file, new Span<byte>(_page, SharedRing.PageSize).ToArray());
        var (code, output) = ExternalTool.Run(program, [verb, file]);
        Assert.True(code == 0, output);
        File.ReadAllBytes(file).CopyTo(new Span<byte>(_page, SharedRing.PageSize));
    }
}
