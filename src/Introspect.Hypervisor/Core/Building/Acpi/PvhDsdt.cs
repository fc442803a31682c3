namespace Introspect.Hypervisor.Core.Building.Acpi;

/// <summary>
/// What a PVH domain's DSDT says: where the toolstack tells of the domain, and a processor object for each vCPU, which
/// finds its entry of the MADT by what is told there. vCPUs are not added to a running domain, so Xen's methods for that
/// (PRST, PRSC, _E02, _EJ0) are not here.
/// </summary>
internal static class PvhDsdt
{
    // What every processor object names: a block of ports that nothing answers on.
    private const uint ProcessorBlock = 0xb010;
    private const byte ProcessorBlockLength = 6;

    /// <summary>The definition block's AML.</summary>
    public static byte[] Build(int vcpus)
    {
        var aml = new AmlWriter();
        aml.Scope("\\_SB", static scope =>
        {
            scope.MemoryRegion("BIOS", static at => at.Number(PvhAcpi.InfoAddress), 40);
            scope.Field(
                "BIOS",
                ("UAR1", 1), ("UAR2", 1), ("LTP1", 1), ("HPET", 1), (null, 12),
                ("NCPU", 16), ("PMIN", 32), ("PLEN", 32), ("MSUA", 32), ("MAPA", 32), ("VGIA", 32),
                ("LMIN", 32), ("HMIN", 32), ("LLEN", 32), ("HLEN", 32));
        });
        aml.Scope("\\_SB", scope =>
        {
            // The entry of a processor that there is, or one that is not enabled.
            scope.Method("PMAT", 2, static method =>
            {
                method.If(
                    static condition => condition.Less(static left => left.Argument(0), static right => right.Name("NCPU")),
                    static then => then.Return(static value => value.ToBuffer(static buffer => buffer.Argument(1))));
                method.Return(static value => value.Buffer(0, 8, 0xff, 0xff, 0, 0, 0, 0));
            });
            for (var vcpu = 0; vcpu < vcpus; vcpu++)
            {
                AddProcessor(scope, (byte)vcpu);
            }
        });
        return aml.ToArray();
    }

    private static void AddProcessor(AmlWriter scope, byte id) => scope.Processor($"PR{id:X2}", id, ProcessorBlock, ProcessorBlockLength, processor =>
    {
        processor.Define("_HID", "ACPI0007");
        processor.Define("_UID", id);
        processor.MemoryRegion("MATR", at => at.Add(static left => left.Name("\\_SB.MAPA"), right => right.Number((ulong)id * 8)), 8);
        processor.Field("MATR", ("MAT", 64));
        processor.Field("MATR", (null, 32), ("FLG", 1));
        processor.Method("_MAT", 0, method =>
        {
            if (id == 0)
            {
                method.Return(static value => value.ToBuffer(static buffer => buffer.Name("MAT")));
            }
            else
            {
                method.Return(value => value.Call("PMAT", first => first.Number(id), static second => second.Name("MAT")));
            }
        });
        processor.Method("_STA", 0, method =>
        {
            if (id == 0)
            {
                ReturnIfEnabled(method);
            }
            else
            {
                method.If(
                    condition => condition.Less(left => left.Number(id), static right => right.Name("\\_SB.NCPU")),
                    ReturnIfEnabled);
            }

            method.Return(static value => value.Number(0));
        });
    });

    private static void ReturnIfEnabled(AmlWriter method) =>
        method.If(static condition => condition.Name("FLG"), static then => then.Return(static value => value.Number(0xf)));
}
