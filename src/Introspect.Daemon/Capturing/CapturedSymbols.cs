using Introspect.Daemon.Symbols;
using Introspect.Rules.Capture;

namespace Introspect.Daemon.Capturing;

/// <summary>The names that a capture brought along.</summary>
/// <param name="capture">The capture that is read.</param>
/// <param name="path">Its file; stdin comes only once.</param>
internal sealed class CapturedSymbols(CaptureReader capture, string path)
    : CapturedNames(capture, path == CaptureFiles.Standard ? null : () => CaptureFiles.Open(path)), ISymbolSource;
