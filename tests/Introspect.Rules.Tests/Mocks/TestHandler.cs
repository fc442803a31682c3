using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;

namespace Introspect.Rules.Tests.Mocks;

public delegate Verdict HandleEvent(ref readonly VmEvent request, ref HandlerContext context);

/// <summary>A handler made of two functions, which counts its calls.</summary>
public sealed class TestHandler(string name, Action<SubscriptionBuilder> subscribe, HandleEvent handle) : IEventHandler
{
    private int _calls;

    public TestHandler(string name, Action<SubscriptionBuilder> subscribe, Verdict verdict)
        : this(name, subscribe, (ref readonly VmEvent _, ref HandlerContext _) => verdict)
    {
    }

    public string Name => name;

    public int Calls => Volatile.Read(ref _calls);

    public void Subscribe(SubscriptionBuilder subscription) => subscribe(subscription);

    public Verdict Handle(ref readonly VmEvent request, ref HandlerContext context)
    {
        Interlocked.Increment(ref _calls);
        return handle(in request, ref context);
    }
}
