using Introspect.Hypervisor;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon;

/// <summary>
/// Everything that the program logs. Ids are for filters and never change their meaning: a message that goes leaves
/// its id reserved.
/// </summary>
internal static partial class Log
{
    [LoggerMessage(1, LogLevel.Information, "introspect {Version} watches {Hypervisor} {HypervisorVersion} ({Connection})")]
    public static partial void Started(ILogger logger, string version, string hypervisor, string hypervisorVersion, string connection);

    [LoggerMessage(2, LogLevel.Information, "Stopping: {Domains} domains are watched")]
    public static partial void Stopping(ILogger logger, int domains);

    [LoggerMessage(3, LogLevel.Information, "Stopped: every monitor is drained and disabled")]
    public static partial void Stopped(ILogger logger);

    [LoggerMessage(4, LogLevel.Critical, "Domain {Domain} was not let go within {Timeout}: 'introspect recover {Domain}' frees it")]
    public static partial void StopTimedOut(ILogger logger, string domain, TimeSpan timeout);

    [LoggerMessage(5, LogLevel.Information, "Metrics at http://{Address}/metrics, health at http://{Address}/healthz")]
    public static partial void MetricsServed(ILogger logger, string address);

    [LoggerMessage(6, LogLevel.Warning, "Metrics at {Address} can be read by whoever reaches this machine; there is no authentication: listen at 127.0.0.1 unless that is meant")]
    public static partial void MetricsReachable(ILogger logger, string address);

    [LoggerMessage(7, LogLevel.Information, "Control by the socket {Path}")]
    public static partial void ControlServed(ILogger logger, string path);

    [LoggerMessage(8, LogLevel.Warning, "There is no control socket at {Path}, 'introspect reload' and 'introspect top' do not work: {Why}")]
    public static partial void ControlUnavailable(ILogger logger, string path, string why);

    [LoggerMessage(9, LogLevel.Warning, "User {User} asked at the control socket and was refused")]
    public static partial void ControlRefused(ILogger logger, uint user);

    [LoggerMessage(10, LogLevel.Information, "Domain {Domain} ({Id}) is watched: policy '{Match}'")]
    public static partial void DomainAttached(ILogger logger, string domain, DomainId id, string match);

    [LoggerMessage(11, LogLevel.Information, "Domain {Domain} ({Id}) is let go: {Why}")]
    public static partial void DomainDetached(ILogger logger, string domain, DomainId id, string why);

    [LoggerMessage(12, LogLevel.Warning, "Domain {Domain} ({Id}) cannot be watched, next try in {Delay}: {Why}")]
    public static partial void DomainNotAttached(ILogger logger, string domain, DomainId id, TimeSpan delay, string why);

    [LoggerMessage(13, LogLevel.Debug, "Domain {Domain} ({Id}) matches no policy")]
    public static partial void DomainIgnored(ILogger logger, string domain, DomainId id);

    [LoggerMessage(14, LogLevel.Error, "Domain {Domain} ({Id}) was not let go cleanly: {Why}")]
    public static partial void DetachFailed(ILogger logger, string domain, DomainId id, string why, Exception exception);

    [LoggerMessage(15, LogLevel.Warning, "Domain {Domain} ({Id}) has a name that policy '{Match}' is for and stays with its old one: {Why}")]
    public static partial void PolicyNotFollowed(ILogger logger, string domain, DomainId id, string match, string why);

    [LoggerMessage(20, LogLevel.Error, "The hypervisor at {Connection} is lost, next try in {Delay}: {Why}")]
    public static partial void HypervisorLost(ILogger logger, string connection, TimeSpan delay, string why);

    [LoggerMessage(30, LogLevel.Information, "Domain {Domain}: {Message}")]
    public static partial void PumpTold(ILogger logger, string domain, string message);

    [LoggerMessage(31, LogLevel.Warning, "Domain {Domain}: {Message} ({Count} times)")]
    public static partial void PumpWarned(ILogger logger, string domain, string message, long count, Exception? exception);

    [LoggerMessage(32, LogLevel.Error, "Domain {Domain}: {Message}")]
    public static partial void PumpFailed(ILogger logger, string domain, string message, Exception? exception);

    [LoggerMessage(40, LogLevel.Error, "Sink {Sink} cannot write, its records {Fate}: {Why}")]
    public static partial void SinkFailed(ILogger logger, string sink, string fate, string why);

    [LoggerMessage(42, LogLevel.Error, "Sink {Sink}: its receiver refuses records for good, they are lost and counted: {Why}")]
    public static partial void SinkRefused(ILogger logger, string sink, string why);

    [LoggerMessage(41, LogLevel.Warning, "Sink {Sink} wrote {Written} records and lost {Lost}")]
    public static partial void SinkLost(ILogger logger, string sink, long written, long lost);

    [LoggerMessage(50, LogLevel.Information, "The configuration was read anew: {Changed} of {Policies} policies changed")]
    public static partial void Reloaded(ILogger logger, int changed, int policies);

    [LoggerMessage(51, LogLevel.Error, "The configuration was not reloaded, the old one stays in force: {Mistake}")]
    public static partial void ReloadFailed(ILogger logger, string mistake);

    [LoggerMessage(52, LogLevel.Warning, "Sections {Sections} of the configuration changed, which needs a restart")]
    public static partial void ReloadIncomplete(ILogger logger, string sections);

    [LoggerMessage(53, LogLevel.Information, "The configuration is read anew: {By}")]
    public static partial void Reloading(ILogger logger, string by);

    [LoggerMessage(54, LogLevel.Warning, "Changes of the files in {Folder} are not seen, SIGHUP and 'introspect reload' work: {Why}")]
    public static partial void FilesNotWatched(ILogger logger, string folder, string why);

    [LoggerMessage(EventId = 70, Message = "Domain {Domain}: {Priority} alert of rule {Rule}: {Message}")]
    public static partial void RuleAlert(ILogger logger, LogLevel level, string domain, string priority, string rule, string message);

    [LoggerMessage(71, LogLevel.Warning, "Rules: {Warning}")]
    public static partial void RuleWarning(ILogger logger, string warning);

    [LoggerMessage(72, LogLevel.Warning, "Domain {Domain}: {Message}")]
    public static partial void RulesNotThrottled(ILogger logger, string domain, string message);

    [LoggerMessage(73, LogLevel.Warning, "It cannot be noted in {Folder} which domains are attached, 'introspect recover --state' will not know them: {Why}")]
    public static partial void NotNoted(ILogger logger, string folder, string why);

    [LoggerMessage(80, LogLevel.Debug, "Plugin {Plugin}: {Message}")]
    public static partial void PluginDebug(ILogger logger, string plugin, string message);

    [LoggerMessage(81, LogLevel.Information, "Plugin {Plugin}: {Message}")]
    public static partial void PluginTold(ILogger logger, string plugin, string message);

    [LoggerMessage(82, LogLevel.Warning, "Plugin {Plugin}: {Message}")]
    public static partial void PluginWarned(ILogger logger, string plugin, string message);

    [LoggerMessage(83, LogLevel.Error, "Plugin {Plugin}: {Message}")]
    public static partial void PluginFailed(ILogger logger, string plugin, string message);

    [LoggerMessage(55, LogLevel.Error, "What is to be done about '{Signal}' was not, unexpectedly: {Why}")]
    public static partial void SignalNotHandled(ILogger logger, string signal, string why, Exception exception);

    [LoggerMessage(60, LogLevel.Error, "The watchdog is not fed: {Why}")]
    public static partial void WatchdogStarved(ILogger logger, string why);

    [LoggerMessage(61, LogLevel.Error, "Somebody has to see to it, there is no watchdog: {Why}")]
    public static partial void PumpHangs(ILogger logger, string why);
}
