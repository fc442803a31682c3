using System.Globalization;
using System.Text;
using System.Xml;

namespace Introspect.Rules.Testing;

/// <summary>Results of tests in the XML that build servers read.</summary>
internal static class JUnitReport
{
    /// <summary>Writes a report.</summary>
    public static void Write(Stream output, IReadOnlyList<RuleTestResult> results)
    {
        using var xml = XmlWriter.Create(output, new XmlWriterSettings { Indent = true, Encoding = new UTF8Encoding(false) });
        xml.WriteStartElement("testsuites");
        Counts(xml, results);
        foreach (var suite in results.GroupBy(result => result.File))
        {
            xml.WriteStartElement("testsuite");
            xml.WriteAttributeString("name", suite.Key);
            Counts(xml, [.. suite]);
            foreach (var result in suite)
            {
                xml.WriteStartElement("testcase");
                xml.WriteAttributeString("classname", suite.Key);
                xml.WriteAttributeString("name", result.Name);
                if (result.Failures.Count > 0)
                {
                    xml.WriteStartElement("failure");
                    xml.WriteAttributeString("message", result.Failures[0]);
                    xml.WriteString(string.Join('\n', result.Failures));
                    xml.WriteEndElement();
                }

                xml.WriteEndElement();
            }

            xml.WriteEndElement();
        }

        xml.WriteEndElement();
    }

    private static void Counts(XmlWriter xml, IReadOnlyList<RuleTestResult> results)
    {
        xml.WriteAttributeString("tests", results.Count.ToString(CultureInfo.InvariantCulture));
        xml.WriteAttributeString("failures", results.Count(result => result.Failures.Count > 0).ToString(CultureInfo.InvariantCulture));
    }
}
