using System.Text;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Daemon.Tests.Guests;

/// <summary>
/// A guest with the little of a xenbus driver that shutting down takes: it watches control/shutdown, reads it when it changes,
/// empties it, and does what it said. It polls, without interrupts, in flat 32-bit mode.
/// </summary>
internal static class XenbusGuest
{
    private const uint Stack = 0x200000;
    private const int Page = unchecked((int)0xfeffc000);
    private const int RequestConsumer = Page + 2048;
    private const int RequestProducer = Page + 2052;
    private const int ResponseConsumer = Page + 2056;
    private const int ResponseProducer = Page + 2060;
    private const int RingBytes = 1024;

    // Behind the code, which is shorter.
    private const uint Data = TinyElf.Address + 0x800;
    private const uint Parameter = Data;
    private const uint Port = Data + 8;
    private const uint Reason = Data + 16;
    private const uint Messages = Data + 32;
    private const uint Buffer = Data + 0x1000;

    private const int Read = 2;
    private const int Watch = 4;
    private const int Write = 11;
    private const int WatchEvent = 15;

    /// <summary>An ELF image with a PVH entry.</summary>
    /// <param name="acknowledges">It does what it is asked; else it reads that and goes on.</param>
    public static byte[] Build(bool acknowledges = true)
    {
        var data = new byte[0x800];
        BitConverter.TryWriteBytes(data, (ushort)0x7ff0); // DOMID_SELF
        BitConverter.TryWriteBytes(data.AsSpan(4), 2); // HVM_PARAM_STORE_EVTCHN
        var at = Messages - Data;
        var watch = Add(Watch, "control/shutdown\0token\0");
        var read = Add(Read, "control/shutdown\0");
        var write = Add(Write, "control/shutdown\0");

        var code = new Assembler(32);
        var (next, ask, answered, reboot, told, written, end) =
            (code.CreateLabel(), code.CreateLabel(), code.CreateLabel(), code.CreateLabel(), code.CreateLabel(), code.CreateLabel(), code.CreateLabel());
        var (send, receive) = (code.CreateLabel(), code.CreateLabel());
        code.mov(esp, (int)Stack);
        Hypercall(34, 1, Parameter); // HVMOP_get_param
        Send(watch);
        code.Label(ref next);
        code.mov(edi, (int)Buffer);
        code.mov(ecx, 16);
        code.call(receive);
        code.mov(ecx, __dword_ptr[(int)Buffer + 12]);
        code.call(receive);
        code.mov(eax, __dword_ptr[(int)Buffer]);
        code.cmp(eax, WatchEvent);
        code.je(ask);
        code.cmp(eax, Read);
        code.je(answered);
        code.cmp(eax, Write);
        code.je(written);
        code.jmp(next);

        code.Label(ref ask);
        Send(read);
        code.jmp(next);

        code.Label(ref answered);
        code.cmp(__dword_ptr[(int)Buffer + 12], 0);
        code.je(next);
        if (!acknowledges)
        {
            code.jmp(next);
        }

        code.cmp(__byte_ptr[(int)Buffer + 16], 'r');
        code.je(reboot);
        code.mov(__dword_ptr[(int)Reason], 0);
        code.jmp(told);
        code.Label(ref reboot);
        code.mov(__dword_ptr[(int)Reason], 1);
        code.Label(ref told);
        Send(write);
        code.jmp(next);

        code.Label(ref written);
        Hypercall(29, 2, Reason); // SCHEDOP_shutdown
        code.Label(ref end);
        code.hlt();
        code.jmp(end);

        AddSend();
        AddReceive();
        using var stream = new MemoryStream();
        code.Assemble(new StreamCodeWriter(stream), TinyElf.Address);
        Assert.InRange(stream.Length, 1, Data - TinyElf.Address);
        stream.SetLength(Data - TinyElf.Address);
        return TinyElf.Build([.. stream.ToArray(), .. data]);

        (uint Address, int Length) Add(int type, string payload)
        {
            var place = data.AsSpan((int)at);
            BitConverter.TryWriteBytes(place, type);
            BitConverter.TryWriteBytes(place[12..], payload.Length);
            Encoding.ASCII.GetBytes(payload).CopyTo(place[16..]);
            var added = (Data + at, 16 + payload.Length);
            at += 64;
            return added;
        }

        void Hypercall(int number, int command, uint argument)
        {
            code.mov(eax, number);
            code.mov(ebx, command);
            code.mov(ecx, (int)argument);
            code.vmcall();
        }

        void Send((uint Address, int Length) message)
        {
            code.mov(esi, (int)message.Address);
            code.mov(ecx, message.Length);
            code.call(send);
        }

        // ECX bytes from ESI.
        void AddSend()
        {
            var wait = code.CreateLabel();
            code.Label(ref send);
            code.nop(); // a place has one label
            code.Label(ref wait);
            code.mov(edx, __dword_ptr[RequestProducer]);
            code.mov(ebx, edx);
            code.sub(ebx, __dword_ptr[RequestConsumer]);
            code.cmp(ebx, RingBytes);
            code.je(wait);
            code.mov(ebx, edx);
            code.and(ebx, RingBytes - 1);
            code.mov(al, __byte_ptr[esi]);
            code.mov(__byte_ptr[ebx + Page], al);
            code.inc(esi);
            code.inc(edx);
            code.mov(__dword_ptr[RequestProducer], edx);
            code.dec(ecx);
            code.jne(wait);
            Hypercall(32, 4, Port); // EVTCHNOP_send
            code.ret();
        }

        // ECX bytes to EDI, which may be none.
        void AddReceive()
        {
            var (wait, have, done) = (code.CreateLabel(), code.CreateLabel(), code.CreateLabel());
            code.Label(ref receive);
            code.test(ecx, ecx);
            code.je(done);
            code.Label(ref wait);
            code.mov(edx, __dword_ptr[ResponseConsumer]);
            code.cmp(edx, __dword_ptr[ResponseProducer]);
            code.jne(have);
            code.pause();
            code.jmp(wait);
            code.Label(ref have);
            code.mov(ebx, edx);
            code.and(ebx, RingBytes - 1);
            code.mov(al, __byte_ptr[ebx + Page + RingBytes]);
            code.mov(__byte_ptr[edi], al);
            code.inc(edi);
            code.inc(edx);
            code.mov(__dword_ptr[ResponseConsumer], edx);
            code.dec(ecx);
            code.jne(wait);
            code.Label(ref done);
            code.ret();
        }
    }
}
