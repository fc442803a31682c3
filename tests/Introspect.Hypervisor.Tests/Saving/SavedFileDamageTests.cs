using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building.Demo;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Saving;
using Introspect.Hypervisor.Core.State;

namespace Introspect.Hypervisor.Tests.Saving;

/// <summary>A file that is not as it was written is refused in one line, and nothing is left of the attempt.</summary>
public sealed class SavedFileDamageTests : IDisposable
{
    private static readonly Lazy<byte[]> Saved = new(static () =>
    {
        using var lab = new SavingLab().Build(DemoGuest.Build().Image, megabytes: 4);
        lab.RunTurns(5);
        return lab.Save(new SavedExtra("kept", new byte[] { 1, 2, 3 }));
    });

    private readonly SavingLab _lab = new();

    public void Dispose() => _lab.Dispose();

    [Fact]
    public void Cut_off_at_every_record_and_in_each_it_is_refused()
    {
        foreach (var (start, length) in Records())
        {
            foreach (var cut in new[] { start, start + 1, start + SavedFormat.PrefixBytes - 1, start + (length / 2), start + length - 1 })
            {
                AssertRefused(Saved.Value[..cut], "cut");
            }
        }

        AssertRefused([], "no saved domain");
        AssertRefused(Saved.Value[..7], "no saved domain");
        AssertRefused([.. Saved.Value, 0], "behind the end");
    }

    [Fact]
    public void With_a_bit_turned_at_every_boundary_and_at_many_places_it_is_refused()
    {
        var random = new Random(20);
        var places = Records().SelectMany(static r => new[] { r.Start, r.Start + 4, r.Start + 9, r.Start + 13, r.Start + r.Length - 1 })
            .Concat(Enumerable.Range(0, SavedFormat.HeaderBytes))
            .Concat(Enumerable.Range(0, 300).Select(_ => random.Next(Saved.Value.Length)));
        foreach (var place in places)
        {
            var altered = (byte[])Saved.Value.Clone();
            altered[place] ^= (byte)(1 << random.Next(8));
            AssertRefused(altered, "");
        }
    }

    [Fact]
    public void Records_that_are_left_out_repeated_or_exchanged_are_refused()
    {
        var records = Records().ToArray();
        for (var n = 0; n < records.Length - 1; n++)
        {
            var (start, length) = records[n];
            AssertRefused([.. Saved.Value[..start], .. Saved.Value[(start + length)..]], "");
            AssertRefused([.. Saved.Value[..(start + length)], .. Saved.Value[start..]], "");
        }

        // With an end that fits what is left: nothing is wrong with it but that something lacks.
        foreach (var kind in new[] { SavedKind.Domain, SavedKind.CpuPolicy, SavedKind.HvmContext, SavedKind.Section })
        {
            AssertRefused(ReSealed.Change(Saved.Value, (k, payload) => k == kind ? null : payload), "no ");
        }
    }

    [Fact]
    public void Another_version_another_architecture_and_an_unknown_record_are_refused_by_name()
    {
        var other = (byte[])Saved.Value.Clone();
        BinaryPrimitives.WriteUInt32LittleEndian(other.AsSpan(16), SavedFormat.Version + 1);
        AssertRefused(other, "format version 2", Errno.EOPNOTSUPP);
        other = (byte[])Saved.Value.Clone();
        BinaryPrimitives.WriteUInt32LittleEndian(other.AsSpan(20), 2);
        BinaryPrimitives.WriteUInt32LittleEndian(other.AsSpan(SavedFormat.HeaderChecksum), Crc32C.Of(other.AsSpan(0, SavedFormat.HeaderChecksum)));
        AssertRefused(other, "architecture 2", Errno.EOPNOTSUPP);
        AssertRefused(ReSealed.Append(Saved.Value, (SavedKind)77, [1, 2, 3]), "does not know kind 77", Errno.EOPNOTSUPP);
    }

    [Fact]
    public void A_feature_that_the_release_does_not_have_is_refused_by_name()
    {
        var altered = ReSealed.Change(Saved.Value, static (kind, payload) =>
        {
            if (kind == SavedKind.CpuPolicy)
            {
                // The first word is leaf 1's EDX; bit 22 is ACPI, which no guest of the core has.
                payload[24 + 2] |= 1 << 6;
            }

            return payload;
        });
        AssertRefused(altered, "which this release does not give", Errno.EOPNOTSUPP);
    }

    [Fact]
    public void A_parameter_that_cannot_be_is_refused_by_name()
    {
        var parameter = new byte[SavedFormat.ParameterBytes];
        parameter[0] = (byte)HvmParam.Viridian;
        BinaryPrimitives.WriteUInt64LittleEndian(parameter.AsSpan(8), 1UL << 60);
        var altered = ReSealed.Change(Saved.Value, (kind, payload) => kind == SavedKind.Parameters ? parameter : payload);
        AssertRefused(altered, "feature mask is 0x1000000000000000");
    }

    [Theory]
    [InlineData(nameof(PlatformSaved.ShutdownReason), 1, 0)]
    [InlineData(nameof(PlatformSaved.ShutdownReason), 6, 1)]
    [InlineData(nameof(PlatformSaved.ShutdownReason), 77, 1)]
    [InlineData(nameof(PlatformSaved.ShutdownReason), 255, 1)]
    [InlineData(nameof(PlatformSaved.HasShutdownReason), 2, 2)]
    [InlineData(nameof(PlatformSaved.Is64), 2, 0)]
    [InlineData(nameof(PlatformSaved.RunstateUpdateFlag), 255, 0)]
    public void A_platform_that_cannot_be_is_refused_by_name(string field, byte value, byte hasReason) =>
        AssertRefused(WithPlatform(hasReason, field, value), "no clock and platform can be in this state", Errno.EINVAL);

    [Fact]
    public void A_reason_that_is_known_is_kept_for_the_shutdown_that_follows()
    {
        for (var reason = ShutdownReason.Poweroff; reason <= ShutdownReason.SoftReset; reason++)
        {
            var file = WithPlatform(hasReason: 1, nameof(PlatformSaved.ShutdownReason), (byte)reason);
            using var lab = new SavingLab().Restore(file);
            Assert.Equal(reason, lab.Platform.KeptShutdownReason);
            lab.Platform.ShutDown(reason == ShutdownReason.Crash ? ShutdownReason.Poweroff : ShutdownReason.Crash);
            Assert.Equal(reason, lab.Domain.ShutdownReason);
        }
    }

    [Fact]
    public void A_reason_that_is_kept_is_for_one_shutdown()
    {
        using var lab = new SavingLab().Build(DemoGuest.Build().Image, megabytes: 4);
        lab.Platform.KeepShutdownReason(ShutdownReason.Suspend);
        lab.Platform.ShutDown(ShutdownReason.Poweroff);
        Assert.Equal(ShutdownReason.Suspend, lab.Domain.ShutdownReason);
        lab.Domain.Resume();
        lab.Platform.ShutDown(ShutdownReason.Poweroff);
        Assert.Equal(ShutdownReason.Poweroff, lab.Domain.ShutdownReason);
    }

    [Theory]
    [InlineData(3, 3)]
    [InlineData(77, null)]
    [InlineData(255, null)]
    public void A_reason_that_a_guest_made_up_keeps_nobody_from_restoring_it(byte reason, int? restored)
    {
        using var lab = new SavingLab().Build(DemoGuest.Build().Image, megabytes: 4);
        lab.Platform.KeepShutdownReason((ShutdownReason)reason);
        lab.Platform.KeepShutdownReason(ShutdownReason.SoftReset);
        Assert.Equal(reason == 255 ? ShutdownReason.SoftReset : (ShutdownReason)reason, lab.Platform.KeptShutdownReason);
        lab.Platform.KeptShutdownReason = null;
        lab.Platform.KeepShutdownReason((ShutdownReason)reason);
        _lab.Restore(lab.Save());
        Assert.Equal((ShutdownReason?)restored, _lab.Platform.KeptShutdownReason);
    }

    private static byte[] WithPlatform(byte hasReason, string field, byte value) => ReSealed.Change(Saved.Value, (kind, payload) =>
    {
        if (kind == SavedKind.Section && BinaryPrimitives.ReadUInt16LittleEndian(payload) == CoreSectionCode.Platform)
        {
            var state = payload.AsSpan(SavedFormat.SectionPrefixBytes);
            state[(int)Marshal.OffsetOf<PlatformSaved>(nameof(PlatformSaved.HasShutdownReason))] = hasReason;
            state[(int)Marshal.OffsetOf<PlatformSaved>(field)] = value;
        }

        return payload;
    });

    private static IEnumerable<(int Start, int Length)> Records()
    {
        for (var at = SavedFormat.HeaderBytes; at < Saved.Value.Length;)
        {
            var length = SavedFormat.PrefixBytes + BinaryPrimitives.ReadInt32LittleEndian(Saved.Value.AsSpan(at + 4));
            yield return (at, length);
            at += length;
        }
    }

    private void AssertRefused(byte[] file, string says, Errno? error = null)
    {
        var refused = Assert.Throws<HypervisorException>(() => DomainRestorer.Restore(_lab.Machine, new MemoryStream(file), "file"));
        Assert.Contains("'file'", refused.Message, StringComparison.Ordinal);
        Assert.Contains(says, refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', refused.Message);
        Assert.Equal(error ?? refused.Error, refused.Error);
        Assert.Empty(_lab.Machine.Domains);
    }
}
