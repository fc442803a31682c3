using System.Reflection;
using Introspect.Hypervisor;
using Introspect.Rules.Handlers;

namespace Introspect.Rules.Plugins;

/// <summary>A plugin's code in this process: its object, its settings, its handlers. Calls come one at a time.</summary>
internal sealed class LoadedPlugin : IDisposable
{
    private readonly PluginLoadContext _context;
    private readonly string _name;
    private readonly Action<PluginLogLevel, string> _log;
    private object? _options;
    private IHandlerPlugin? _plugin;

    private LoadedPlugin(PluginLoadContext context, IHandlerPlugin plugin, object? options, string name, Action<PluginLogLevel, string> log) =>
        (_context, _plugin, _options, _name, _log) = (context, plugin, options, name, log);

    /// <summary>Loads a plugin and makes its settings.</summary>
    /// <param name="assemblyPath">Its assembly.</param>
    /// <param name="name">What it goes by.</param>
    /// <param name="config">The values of its settings.</param>
    /// <param name="isCollectible">It can be unloaded.</param>
    /// <param name="log">Where its lines go.</param>
    /// <exception cref="PluginException">It cannot be loaded.</exception>
    /// <exception cref="PluginOptionsException">The settings do not fit.</exception>
    public static LoadedPlugin Load(string assemblyPath, string name, IEnumerable<KeyValuePair<string, string?>> config, bool isCollectible, Action<PluginLogLevel, string> log)
    {
        var context = new PluginLoadContext(assemblyPath, isCollectible);
        try
        {
            var assembly = context.LoadFile(assemblyPath);
            var attribute = assembly.GetCustomAttribute<HandlerPluginAttribute>()
                ?? throw new PluginException($"plugin {name}: {Path.GetFileName(assemblyPath)} has no [assembly: HandlerPlugin(…)]; add it");
            if (Activator.CreateInstance(attribute.Plugin) is not IHandlerPlugin plugin)
            {
                throw new PluginException($"plugin {name}: its class {attribute.Plugin.FullName} does not implement IHandlerPlugin; name one that does");
            }

            return new(context, plugin, MakeOptions(plugin, config), name, log);
        }
        catch (Exception e) when (e is not (PluginException or PluginOptionsException))
        {
            Unload(context);
            throw new PluginException($"plugin {name} cannot be loaded: {Explain(e)}", e);
        }
        catch
        {
            Unload(context);
            throw;
        }
    }

    /// <summary>Makes the handler of a domain.</summary>
    /// <exception cref="PluginException">The plugin refuses or fails.</exception>
    public IEventHandler Create(DomainInfo domain)
    {
        ObjectDisposedException.ThrowIf(_plugin is null, this);
        try
        {
            return _plugin.Create(new(_name, domain, _options, _log)) ?? throw new PluginException($"plugin {_name} made no handler for domain {domain.Id}; Create must return one");
        }
        catch (Exception e) when (e is not PluginException)
        {
            throw new PluginException($"plugin {_name} made no handler for domain {domain.Id}: {Explain(e)}", e);
        }
    }

    /// <summary>Lets go of the code; it is unloaded when nothing of it is in use.</summary>
    public void Dispose()
    {
        try
        {
            (_plugin as IDisposable)?.Dispose();
        }
#pragma warning disable CA1031 // The plugin's own mistake must not keep it here.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _log(PluginLogLevel.Warning, $"it threw {e.GetType().Name} when it was disposed: {Pump.PumpReporter.TextOf(e)}");
        }

        (_plugin, _options) = (null, null);
        Unload(_context);
    }

    /// <summary>One line about an exception of a plugin, which names what is missing.</summary>
    public static string Explain(Exception exception)
    {
        var cause = exception is TargetInvocationException or TypeInitializationException && exception.InnerException is { } inner ? inner : exception;
        var text = Pump.PumpReporter.TextOf(cause);
        return cause switch
        {
            FileNotFoundException { FileName: { } missing } when missing.Contains("Version=", StringComparison.Ordinal) =>
                $"it needs {missing.Split(',')[0]}, which is not beside it; publish the plugin with its dependencies (dotnet publish)",
            FileLoadException or BadImageFormatException => $"{text}; publish the plugin anew",
            MissingMemberException or TypeLoadException => $"{text}; build the plugin anew against this release's Introspect.Rules.dll",
            ArgumentException => text,
            _ => $"{cause.GetType().Name}: {text}",
        };
    }

    private static object? MakeOptions(IHandlerPlugin plugin, IEnumerable<KeyValuePair<string, string?>> config)
    {
        if (plugin is IConfigurablePlugin configurable)
        {
            return OptionsBinder.Bind(configurable.OptionsType, config);
        }

        var unwanted = config.Where(pair => pair.Key.Length != 0).Select(pair => new OptionMistake(pair.Key, null, "is not known; this plugin has no settings")).ToList();
        return unwanted.Count == 0 ? null : throw new PluginOptionsException(unwanted);
    }

    private static void Unload(PluginLoadContext context)
    {
        if (context.IsCollectible)
        {
            context.Unload();
        }
    }
}
