using System.Runtime.InteropServices;
using System.Text.Json;
using Introspect.Hypervisor;

namespace Introspect.Rules.Plugins.Isolation;

/// <summary>The monitor's side of what a plugin asks about a domain. Nothing that the plugin says is trusted.</summary>
internal static class DomainCalls
{
    /// <summary>Does what is asked and writes the reply.</summary>
    public static void Serve(IDomain domain, ReadOnlySpan<byte> incoming, Span<byte> outgoing)
    {
        var ask = CallLayout.Read<AskMessage>(incoming);
        var reply = new ReplyMessage { Kind = CallKind.Reply };
        try
        {
            if (ask.Length is < 0 or > CallLayout.MaxData)
            {
                throw new HypervisorException(Errno.E2BIG, $"a plugin asked for {ask.Length} bytes at once");
            }

            Do(domain, in ask, incoming.Slice(CallLayout.DataOffset, CallLayout.MaxData), outgoing.Slice(CallLayout.DataOffset, CallLayout.MaxData), ref reply);
        }
        catch (HypervisorException refused)
        {
            reply.Error = (int)refused.Error;
            reply.Length = CallLayout.WriteText(outgoing, refused.Message);
        }
#pragma warning disable CA1031 // A question of a plugin must not end the pump.
        catch (Exception e)
#pragma warning restore CA1031
        {
            reply.Error = (int)Errno.EINVAL;
            reply.Length = CallLayout.WriteText(outgoing, e.Message);
        }

        CallLayout.As<ReplyMessage>(outgoing) = reply;
    }

    private static void Do(IDomain domain, in AskMessage ask, ReadOnlySpan<byte> input, Span<byte> output, ref ReplyMessage reply)
    {
        var space = new AddressSpace((PagingMode)ask.PagingMode, ask.Root, ask.PageSizeExtension != 0);
        switch (ask.Operation)
        {
            case DomainOperation.GetInfo:
                var info = JsonSerializer.SerializeToUtf8Bytes(DomainWire.Of(domain.GetInfo()), ControlJson.Default.DomainWire);
                info.CopyTo(output);
                reply.Length = info.Length;
                break;
            case DomainOperation.ReadPhysical:
                domain.Memory.ReadPhysical(new(ask.Address), output[..ask.Length]);
                reply.Length = ask.Length;
                break;
            case DomainOperation.WritePhysical:
                domain.Memory.WritePhysical(new(ask.Address), input[..ask.Length]);
                break;
            case DomainOperation.Translate:
                reply.Flag = domain.Memory.TryTranslate(in space, new(ask.Address), out var physical) ? 1u : 0;
                reply.Value = physical.Value;
                break;
            case DomainOperation.ReadVirtual:
                domain.Memory.ReadVirtual(in space, new(ask.Address), output[..ask.Length]);
                reply.Length = ask.Length;
                break;
            case DomainOperation.WriteVirtual:
                domain.Memory.WriteVirtual(in space, new(ask.Address), input[..ask.Length]);
                break;
            case DomainOperation.ReadVcpu:
                var state = domain.ReadVcpu(new(ask.Vcpu));
                MemoryMarshal.Write(output, in state);
                break;
            case DomainOperation.WriteVcpu:
                domain.WriteVcpu(new(ask.Vcpu), MemoryMarshal.Read<VcpuState>(input));
                break;
            case DomainOperation.InjectTrap:
                domain.InjectTrap(new(ask.Vcpu), ask.Trap.ToTrap());
                break;
            default:
                throw new HypervisorException(Errno.ENOSYS, $"a plugin asked for operation {(uint)ask.Operation}, which there is not");
        }
    }
}
