namespace Introspect.Hypervisor.Core.Platform.Apic;

/// <summary>What spares a guest the end of an interrupt. Called on the vCPU's own thread.</summary>
internal interface IApicAssist
{
    /// <summary>The guest ended the interrupt without a word: takes note of it.</summary>
    bool TakeCompleted();

    /// <summary>Tells the guest that the interrupt that it gets now needs no end.</summary>
    void Offer();

    /// <summary>The interrupt in service is to be ended in the old way.</summary>
    void Withdraw();

    /// <summary>Interrupts of this vector are not in service while they are handled.</summary>
    bool EndsByItself(byte vector);
}
