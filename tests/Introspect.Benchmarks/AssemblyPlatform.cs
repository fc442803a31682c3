using System.Runtime.Versioning;

// Guest memory is memfds, rings are eventfds, the service speaks systemd's protocol.
[assembly: SupportedOSPlatform("linux")]
