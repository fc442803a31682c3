namespace Introspect.Hypervisor.Core.Cpu.Handlers;

/// <summary>A handler that exists for each operand size.</summary>
internal unsafe interface ISizedHandler
{
    static abstract void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged;
}

/// <summary>A handler that exists for each operand size and address form.</summary>
internal unsafe interface IMemoryHandler
{
    static abstract void Run<T, TAddress>(CpuState* s, Insn* i)
        where T : unmanaged
        where TAddress : struct, IEffectiveAddress;
}

/// <summary>
/// Chooses the instantiation of a handler. Each one is compiled on its own for its sizes and address form, at
/// its first use.
/// </summary>
internal static unsafe class Pick
{
    public static delegate*<CpuState*, Insn*, void> Sized<THandler>(int size)
        where THandler : struct, ISizedHandler => size switch
        {
            1 => &THandler.Run<byte>,
            2 => &THandler.Run<ushort>,
            4 => &THandler.Run<uint>,
            _ => &THandler.Run<ulong>,
        };

    public static delegate*<CpuState*, Insn*, void> Memory<THandler>(int size, AddressForm form)
        where THandler : struct, IMemoryHandler => form switch
        {
            AddressForm.Wide => At<THandler, Address64>(size),
            AddressForm.Narrow => At<THandler, Address32>(size),
            _ => At<THandler, AddressChecked>(size),
        };

    /// <summary>The instantiation for an address computation of the caller's.</summary>
    public static delegate*<CpuState*, Insn*, void> At<THandler, TAddress>(int size)
        where THandler : struct, IMemoryHandler
        where TAddress : struct, IEffectiveAddress => size switch
        {
            1 => &THandler.Run<byte, TAddress>,
            2 => &THandler.Run<ushort, TAddress>,
            4 => &THandler.Run<uint, TAddress>,
            _ => &THandler.Run<ulong, TAddress>,
        };
}
