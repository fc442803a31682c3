using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Language;

/// <content>Bits of one register that are looked for in writes of another.</content>
internal sealed partial class FactFinder
{
    /// <summary>
    /// Finds bits of a control register that are compared with the old or new value of a write although nothing around the
    /// comparison says which register it is of.
    /// </summary>
    /// <returns>The constants, and another register in whose writes they would be looked for.</returns>
    public static IEnumerable<(ConstantNumber Bits, ControlRegisterIndex Other)> FindMixups(TruthNode condition, VmEventReasonSet reasons)
    {
        if (!reasons.Contains(VmEventReason.WriteCtrlreg))
        {
            return [];
        }

        var found = new Dictionary<ConstantNumber, ControlRegisterIndex>();
        foreach (var register in Enum.GetValues<ControlRegisterIndex>())
        {
            new FactFinder(VmEventReason.WriteCtrlreg, register).FindMixups(condition, found);
        }

        return found.Select(f => (f.Key, f.Value));
    }

    private void FindMixups(TruthNode node, Dictionary<ConstantNumber, ControlRegisterIndex> found)
    {
        switch (node)
        {
            case ChainNode { IsAnd: true } all when all.Items.Any(i => Holds(i) is null):
                // Something beside it excludes this register.
                return;
            case ChainNode chain:
                foreach (var item in chain.Items)
                {
                    FindMixups(item, found);
                }

                return;
            case CompareNode compare when OfWrite(compare.Left) || OfWrite(compare.Right):
                AddForeignBits(compare.Left, found);
                AddForeignBits(compare.Right, found);
                return;
        }
    }

    private static bool OfWrite(NumberNode node) => node switch
    {
        FieldNumber field => field.Field.Subject is FactSubject.Old or FactSubject.New or FactSubject.Changed,
        BinaryNumber binary => OfWrite(binary.Left) || OfWrite(binary.Right),
        ComplementNumber complement => OfWrite(complement.Operand),
        _ => false,
    };

    private void AddForeignBits(NumberNode node, Dictionary<ConstantNumber, ControlRegisterIndex> found)
    {
        switch (node)
        {
            case BinaryNumber binary:
                AddForeignBits(binary.Left, found);
                AddForeignBits(binary.Right, found);
                break;
            case ComplementNumber complement:
                AddForeignBits(complement.Operand, found);
                break;
            case ConstantNumber { Bits: { } bits } constant when Vocabulary.Register.TryGetValue(bits.Register, out var own) && own != (ulong)_register!.Value:
                found.TryAdd(constant, _register.Value);
                break;
        }
    }
}
