using Introspect.Hypervisor.Core.Building.Demo;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Saving;

namespace Introspect.Hypervisor.Tests.Saving;

/// <summary>
/// Files whose contents are hostile and whose checksums are right: they are refused, or what comes of them is a domain like
/// any other. Nothing crashes, and nothing is left.
/// </summary>
public sealed class SavedFileFuzzTests
{
    private const int Rounds = 400;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Hostile_contents_are_refused_or_restored_and_nothing_else(int seed)
    {
        using var source = new SavingLab().Build(DemoGuest.Build().Image, megabytes: 4);
        source.RunTurns(5);
        var saved = source.Save(new SavedExtra("kept", new byte[] { 1, 2, 3 }));
        using var lab = new SavingLab();
        var random = new Random(seed);
        var (refused, restored) = (0, 0);
        for (var round = 0; round < Rounds; round++)
        {
            var hostile = Mutate(saved, random);
            try
            {
                var domain = DomainRestorer.Restore(lab.Machine, new MemoryStream(hostile), "hostile").Domain;
                restored++;

                // Whatever it is told to run, it is the guest's own affair.
                domain.ControllerUnpause();
                SpinWait.SpinUntil(() => domain.IsShutDown || domain.Vcpus[0].Runner.Retired > 1000 || domain.Vcpus[0].Flags != VcpuPauseFlags.None, TimeSpan.FromMilliseconds(20));
                Assert.Null(domain.Vcpus[0].Failure);
                using var _ = lab.Machine.ControlLock.EnterScope();
                lab.Machine.DestroyDomain(domain);
            }
            catch (HypervisorException e)
            {
                refused++;
                Assert.DoesNotContain('\n', e.Message);
            }

            Assert.Empty(lab.Machine.Domains);
        }

        Assert.True(refused > Rounds / 10 && restored > Rounds / 10, $"{refused} refused, {restored} restored");
    }

    private static byte[] Mutate(byte[] saved, Random random)
    {
        var target = random.Next(14);
        return ReSealed.Change(saved, (kind, payload) =>
        {
            // One kind a round, and the rarely met ones as often as the pages.
            if ((int)kind != target + 1 || payload.Length == 0)
            {
                return payload;
            }

            switch (random.Next(8))
            {
                case 0:
                    return payload[..random.Next(payload.Length)];
                case 1:
                    return [.. payload, .. payload[..random.Next(payload.Length)]];
                case 2:
                    var word = random.Next(Math.Max(1, payload.Length / 8)) * 8;
                    payload.AsSpan(word, Math.Min(8, payload.Length - word)).Fill((byte)(random.Next(2) * 0xff));
                    return payload;
                default:
                    for (var n = random.Next(1, 4); n > 0; n--)
                    {
                        payload[random.Next(payload.Length)] = (byte)random.Next(256);
                    }

                    return payload;
            }
        });
    }
}
