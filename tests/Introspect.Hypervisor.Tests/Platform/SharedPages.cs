using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Tests.Platform;

/// <summary>Shared pages in plain arrays, with a host that remembers what it was told.</summary>
internal sealed class SharedPages(uint vcpuCount = 2) : ISharedPages, IEventChannelHost
{
    public readonly byte[] Page = new byte[4096];
    public readonly byte[]?[] Registered = new byte[vcpuCount][];
    public readonly List<uint> Upcalls = [];
    public readonly List<uint> Woken = [];

    public Span<byte> SharedInfo => Page;

    public uint VcpuCount => vcpuCount;

    public Span<byte> RegisteredVcpuInfo(uint vcpuId) => vcpuId < Registered.Length ? Registered[vcpuId] : default;

    public void Upcall(uint vcpuId) => Upcalls.Add(vcpuId);

    public void WakePoller(uint vcpuId) => Woken.Add(vcpuId);
}

/// <summary>A far end that counts.</summary>
internal sealed class CountingPeer : IEventChannelPeer
{
    public int Signals { get; private set; }

    public void Signal() => Signals++;
}
