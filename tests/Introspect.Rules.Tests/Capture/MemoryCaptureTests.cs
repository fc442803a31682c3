using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Tests.House;
using Introspect.Rules.Capture;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;
using Introspect.Rules.Tests.Pump;

namespace Introspect.Rules.Tests.Capture;

/// <summary>Memory that is taken at an event, and what a replay makes of it.</summary>
public class MemoryCaptureTests
{
    private static readonly MemoryWindow[] Windows = [new(WindowRegister.Rip, 0, 16), new(WindowRegister.Rsp, 8, 24)];

    [Fact]
    public void Memory_at_an_event_is_that_of_the_moment_and_is_read_back()
    {
        var request = Requests.Cpuid();
        var recorder = new MemoryRecorder(Windows, 100);
        using var rig = new PumpRig(new PumpOptions(), new HandlerRegistration(recorder.Around(PumpRig.Handler("watch", Verdict.Pass))));
        rig.Domain.GuestMemory.WritePhysical(new(Requests.Rip), [0x0f, 0xa2]);
        rig.Start();
        for (var i = 1; i <= 5; i++)
        {
            rig.Domain.GuestMemory.WritePhysical(new(request.Registers.Rsp), [(byte)i, 2, 3, 4, 5, 6, 7, 8]);
            rig.Exchange(request);
        }

        using var stream = new MemoryStream();
        using (var writer = new CaptureWriter(stream, Captures.Header() with { Windows = Windows }))
        {
            rig.DrainRecords().ForEach(record => writer.TryWrite(in record, recorder));
        }

        using var capture = Captures.Open(stream.ToArray());
        var space = AddressSpace.FromControlRegisters(request.Registers.Cr0, request.Registers.Cr3, request.Registers.Cr4, request.Registers.MsrEfer);
        var bytes = new byte[8];
        for (var i = 1; i <= 5; i++)
        {
            Assert.Equal(CaptureItem.Event, capture.Read());
            capture.Memory.ReadVirtual(in space, new(request.Registers.Rsp), bytes);
            Assert.Equal([(byte)i, 2, 3, 4, 5, 6, 7, 8], bytes);
            Assert.True(capture.Memory.TryTranslate(in space, new(Requests.Rip), out var physical));
            capture.Memory.ReadPhysical(physical, bytes.AsSpan(0, 2));
            Assert.Equal([0x0f, 0xa2], bytes[..2]);
        }

        Assert.Equal(0, recorder.Missed);
    }

    [Fact]
    public void What_was_not_taken_is_unknown_and_what_was_not_mapped_is_not_mapped()
    {
        // The instruction crosses into a page that is not there, as does the stack downwards.
        var capture = Capture(Requests.Cpuid(), memory =>
        {
            memory.WritePhysical(new(Requests.Rip), [0x0f, 0xa2]);
            memory.WritePhysical(new(0xffff_8000_0020_0000), [1]);
        });
        var space = new AddressSpace(PagingMode.FourLevel, 0x1000);
        var one = new byte[1];
        capture.Memory.ReadVirtual(in space, new(Requests.Rip + 1), one);
        Assert.Equal(0xa2, one[0]);
        Refused(Errno.EFAULT, () => capture.Memory.ReadVirtual(in space, new(Requests.Rip + 2), one));
        Assert.False(capture.Memory.TryTranslate(in space, new(Requests.Rip + 2), out _));
        Refused(Errno.EFAULT, () => capture.Memory.ReadVirtual(in space, new(Requests.Rip + 1), new byte[2]));
        Refused(Errno.ENODATA, () => capture.Memory.ReadVirtual(in space, new(Requests.Rip + 16), one));
        Assert.False(capture.Memory.TryTranslate(in space, new(0x5000), out _));
        Assert.False(capture.Memory.TryReadPhysical(new(0x5000), one));
        Refused(Errno.ENODATA, () => capture.Memory.ReadPhysical(new(0x5000), one));
        var other = new AddressSpace(PagingMode.FourLevel, 0x2000);
        Refused(Errno.ENODATA, () => capture.Memory.ReadVirtual(in other, new(Requests.Rip), one));
        Refused(Errno.EROFS, () => capture.Memory.WriteVirtual(in space, new(Requests.Rip), one));
        Refused(Errno.EROFS, () => capture.Memory.WritePhysical(new(Requests.Rip), one));
    }

    [Fact]
    public void A_window_of_an_access_is_where_the_access_was()
    {
        var access = Requests.MemAccess(0x10, MemAccessFlags.Write | MemAccessFlags.GlaValid);
        access.MemAccess.Gla = 0x10008;
        Assert.True(new MemoryWindow(WindowRegister.Gla, 8, 8).TryLocate(in access, out var address));
        Assert.Equal(0x10000ul, address);
        access.MemAccess.Flags = MemAccessFlags.Write;
        Assert.False(new MemoryWindow(WindowRegister.Gla, 8, 8).TryLocate(in access, out _));
        var cpuid = Requests.Cpuid();
        Assert.False(new MemoryWindow(WindowRegister.Gla, 8, 8).TryLocate(in cpuid, out _));
    }

    [Fact]
    public void Outside_of_long_mode_addresses_have_the_segments_base_and_32_bits()
    {
        var request = Requests.Cpuid();
        request.Registers.MsrEfer = 0;
        request.Registers.Rip = 0xffff_ffff_0000_1234;
        request.Registers.Rsp = 0x100;
        request.Registers.CsBase = 0x1_0000;
        request.Registers.SsBase = 0x2_0000;
        Assert.True(new MemoryWindow(WindowRegister.Rip, 4, 1).TryLocate(in request, out var code));
        Assert.True(new MemoryWindow(WindowRegister.Rsp, 0, 1).TryLocate(in request, out var stack));
        Assert.Equal((0x11230ul, 0x20100ul), (code, stack));
    }

    [Fact]
    public void Memory_of_records_that_were_dropped_goes_to_no_other_and_what_does_not_fit_is_counted()
    {
        var recorder = new MemoryRecorder([new(WindowRegister.Rsp, 0, 1)], 4);
        using var domain = new MockDomain();
        var handler = recorder.Around(PumpRig.Handler("watch", Verdict.Pass));
        for (var sequence = 1ul; sequence <= 6; sequence++)
        {
            var request = Requests.Cpuid();
            domain.GuestMemory.WritePhysical(new(request.Registers.Rsp), [(byte)sequence]);
            var response = request;
            var context = new HandlerContext(domain, in request, ref response, default) { Sequence = sequence };
            handler.Handle(in request, ref context);
        }

        Assert.Equal(2, recorder.Missed);
        Assert.Equal(2ul, recorder.Find(2)?.Sequence);
        recorder.Return();
        Assert.Equal(4ul, recorder.Find(4)?.Sequence);
        recorder.Return();
        Assert.Null(recorder.Find(6));
    }

    [Fact]
    public void Taking_memory_allocates_nothing()
    {
        var recorder = new MemoryRecorder(Windows, 16);
        using var domain = new MockDomain();
        using var writer = new CaptureWriter(Stream.Null, Captures.Header());
        var request = Requests.Cpuid();
        domain.GuestMemory.WritePhysical(new(request.Registers.Rsp - 8), new byte[64]);
        domain.GuestMemory.WritePhysical(new(request.Registers.Rip), new byte[64]);
        var handler = recorder.Around(PumpRig.Handler("watch", Verdict.Pass));
        ulong sequence = 0;
        Assert.Equal(0, Allocation.LeastOf(() =>
        {
            for (var i = 0; i < 1000; i++)
            {
                sequence++;
                var response = request;
                var context = new HandlerContext(domain, in request, ref response, default) { Sequence = sequence };
                handler.Handle(in request, ref context);
                var record = Captures.Record(sequence, in request);
                writer.TryWrite(in record, recorder);
            }
        }));
    }

    private static CaptureReader Capture(VmEvent request, Action<MockGuestMemory> fill)
    {
        var memory = new MockGuestMemory();
        fill(memory);
        var snapshot = MemorySnapshot.For(Windows);
        snapshot.Take(memory, in request, Windows);
        using var stream = new MemoryStream();
        using (var writer = new CaptureWriter(stream, Captures.Header()))
        {
            var record = Captures.Record(1, in request);
            writer.TryWrite(in record, snapshot);
        }

        var capture = Captures.Open(stream.ToArray());
        Assert.Equal(CaptureItem.Event, capture.Read());
        return capture;
    }

    private static void Refused(Errno error, Action action) => Assert.Equal(error, Assert.Throws<HypervisorException>(action).Error);
}
