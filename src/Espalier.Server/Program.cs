using System.Text.Json;
using Espalier.Tensors.Threading;

namespace Espalier.Server;

/// <summary>The program that `espalier serve` starts. Its argument is <see cref="ServerSettings"/> as JSON; it ends with the
/// tool's exit codes, and with one line where something is wrong.</summary>
internal static class Program
{
    private const int Failed = 1, WrongInput = 2;

    private static async Task<int> Main(string[] args)
    {
        try
        {
            ServerSettings? given = args.Length == 1 ? JsonSerializer.Deserialize(args[0], SettingsJson.Default.ServerSettings) : null;
            ServerSettings settings = given ?? throw new EspalierException("this program is started by 'espalier serve'");
            if (settings.Threads is { } threads) Workers.Threads = threads;
            await using Service service = await Service.Start(settings);
            foreach (ModelInfo info in service.Models) Console.WriteLine($"model       {info.Name}: {info.Description}");
            Console.WriteLine($"listening   {service.Address} (Ctrl-C ends it)");
            if (settings.StopsWithInput) new Thread(() => WaitForEnd(service)) { IsBackground = true }.Start();
            await service.Ended();
            return 0;
        }
        catch (Exception e)
        {
            bool input = e is EspalierException or JsonException;
            await Console.Error.WriteLineAsync("espalier: " + Problem.OneLine(e.Message));
            return input ? WrongInput : Failed;
        }
    }

    private static void WaitForEnd(Service service)
    {
        using Stream input = Console.OpenStandardInput();
        var none = new byte[64];
        while (input.Read(none) > 0)
        {
        }
        service.Stop();
    }
}
