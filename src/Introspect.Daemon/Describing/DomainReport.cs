using System.Globalization;
using System.Text;
using System.Text.Json;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Daemon.Describing;

/// <summary>What is decided about a domain, for people and for programs.</summary>
internal static class DomainReport
{
    /// <summary>A line of what the domain is, and one for each decision.</summary>
    public static string ToText(DomainDescription domain)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{domain.Name ?? "domain"}: {ArchitectureOf(domain)}, {RolesOf(domain.Roles)}\n");
        if (domain.Architecture == DescribedArchitecture.Arm)
        {
            text.Append("the core executes x86 only; these are Xen's decisions for such a domain\n");
        }

        var rows = domain.Policies.Select(policy => (policy.Name, Decision: policy.Decide(domain.Roles), policy.Site)).ToList();
        var name = rows.Max(static row => row.Name.Length);
        var decision = rows.Max(static row => row.Decision.Length);
        foreach (var row in rows)
        {
            text.Append(row.Name.PadRight(name)).Append("  ").Append(row.Decision.PadRight(decision)).Append("  ").Append(row.Site).Append('\n');
        }

        return text.ToString();
    }

    /// <summary>One JSON object.</summary>
    public static void WriteJson(Stream output, DomainDescription domain)
    {
        using (var json = new Utf8JsonWriter(output))
        {
            json.WriteStartObject();
            json.WriteString("type", "domain_description");
            if (domain.Name is not null)
            {
                json.WriteString("name", domain.Name);
            }

            json.WriteString("arch", ArchitectureOf(domain));
            json.WriteBoolean("executed", domain.Architecture == DescribedArchitecture.X86);
            json.WriteBoolean("hardware", domain.Roles.HasFlag(DomainRoles.Hardware));
            json.WriteBoolean("control", domain.Roles.HasFlag(DomainRoles.Control));
            json.WriteStartArray("policies");
            foreach (var policy in domain.Policies)
            {
                json.WriteStartObject();
                json.WriteString("policy", policy.Name);
                json.WriteString("decision", policy.Decide(domain.Roles));
                json.WriteString("xen", policy.Site);
                json.WriteBoolean("on_core", policy.IsWired);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        output.WriteByte((byte)'\n');
        output.Flush();
    }

    private static string ArchitectureOf(DomainDescription domain) => domain.Architecture == DescribedArchitecture.Arm ? "arm" : "x86";

    private static string RolesOf(DomainRoles roles) => roles switch
    {
        DomainRoles.Both => "hardware domain and control domain",
        DomainRoles.Hardware => "hardware domain",
        DomainRoles.Control => "control domain",
        _ => "ordinary domain",
    };
}
