using System.Text;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Symbols;

namespace Introspect.Daemon.Inspection;

/// <summary>Looks at domains without changing anything.</summary>
internal sealed class Inspector(IHypervisorFactory factory, Stream output)
{
    private const int ChunkBytes = 1 << 16;

    /// <summary><c>introspect regs</c>.</summary>
    public void Registers(InspectionTarget target, bool json) => Look(target, vcpu =>
    {
        if (json)
        {
            RegisterReport.WriteJson(output, vcpu);
        }
        else
        {
            Write(RegisterReport.ToText(vcpu));
        }
    });

    /// <summary><c>introspect mem</c>.</summary>
    public void Memory(MemoryRequest request) => Look(request.Target, vcpu =>
    {
        var address = request.Address.Resolve(vcpu.Symbols, "mem");
        var bytes = new byte[Math.Min(request.Length, ChunkBytes)];
        var text = new StringBuilder();
        for (ulong done = 0; done < request.Length; done += (ulong)bytes.Length)
        {
            var chunk = bytes.AsSpan(0, (int)Math.Min((ulong)bytes.Length, request.Length - done));
            var at = unchecked(address + done);
            vcpu.Read(at, chunk, request.IsPhysical);
            if (request.Format == MemoryFormat.Raw)
            {
                output.Write(chunk);
                continue;
            }

            text.Clear();
            MemoryReport.Append(text, at, chunk, request.Format, vcpu.Symbols);
            Write(text.ToString());
        }
    });

    /// <summary><c>introspect disasm</c>.</summary>
    public void Disassemble(DisassemblyRequest request) => Look(request.Target, vcpu =>
    {
        var text = new StringBuilder();
        Disassembly.Append(text, vcpu, request.Address?.Resolve(vcpu.Symbols, "disasm") ?? vcpu.Rip, request.Count);
        Write(text.ToString());
    });

    private void Look(InspectionTarget target, Action<InspectedVcpu> look)
    {
        using var session = factory.Open(target.Hypervisor);
        var symbols = SymbolFile.Choose(target.Symbols, session.Symbols);
        using var domain = session.OpenDomain(target.Domain);
        try
        {
            look(InspectedVcpu.Read(domain, target, symbols));
            output.Flush();
        }
        catch (IOException e) when (Output.StandardOutput.IsClosed(e))
        {
            // Who reads has seen enough.
        }
    }

    private void Write(string text) => output.Write(Encoding.UTF8.GetBytes(text));
}
