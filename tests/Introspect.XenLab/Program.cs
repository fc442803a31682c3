using Introspect.Hypervisor.Core.Building.Demo;
using Introspect.XenLab.Guest;

return args switch
{
    ["guest", var name, var file] => WriteGuest(name, file),
    _ => Usage(),
};

static int Usage()
{
    Console.Error.WriteLine("usage: xenlab guest trace|trace-forever|load|demo|demo-forever FILE");
    return 2;
}

static int WriteGuest(string name, string file)
{
    byte[]? image = name switch
    {
        "trace" => TraceGuest.Build().Image,
        "trace-forever" => TraceGuest.Build(new(Rounds: 0)).Image,
        "load" => TraceGuest.Build(new(Rounds: 0, Load: true)).Image,
        "demo" => DemoGuest.Build().Image,
        "demo-forever" => DemoGuest.Build(new() { Forever = true }).Image,
        _ => null,
    };
    if (image is null)
    {
        return Usage();
    }

    File.WriteAllBytes(file, image);
    return 0;
}
