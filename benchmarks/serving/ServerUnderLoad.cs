using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Espalier.Server;

namespace Espalier.Serving;

/// <summary>The service in a process of its own, so that its memory is its own.</summary>
internal sealed class ServerUnderLoad : IDisposable
{
    private readonly Process process;

    private ServerUnderLoad(Process process, string address)
    {
        this.process = process;
        var handler = new SocketsHttpHandler { MaxConnectionsPerServer = 1000, UseProxy = false };
        Client = new HttpClient(handler) { BaseAddress = new Uri(address), Timeout = TimeSpan.FromMinutes(1) };
    }

    public HttpClient Client { get; }

    public bool IsAlive => !process.HasExited;

    public static ServerUnderLoad Start(string model, int queue)
    {
        var settings = new ServerSettings { Models = [model], Port = 0, Queue = queue, StopsWithInput = true };
        string json = JsonSerializer.Serialize(settings, SettingsJson.Default.ServerSettings);
        var start = new ProcessStartInfo("dotnet", ["exec", Path.Combine(AppContext.BaseDirectory, "espalier-server.dll"), json])
        {
            RedirectStandardInput = true, RedirectStandardOutput = true,
        };
        Process process = Process.Start(start)!;
        while (process.StandardOutput.ReadLine() is { } line)
            if (line.StartsWith("listening", StringComparison.Ordinal))
                return new ServerUnderLoad(process, line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]);
        throw new InvalidOperationException("the service did not start");
    }

    /// <summary>What the service says of itself.</summary>
    public async Task<double> Metric(string name)
    {
        string text = await Client.GetStringAsync("/metrics");
        return text.Split('\n').Where(l => l.StartsWith(name, StringComparison.Ordinal))
            .Sum(l => double.Parse(l.Split(' ')[^1], CultureInfo.InvariantCulture));
    }

    public void Dispose()
    {
        process.StandardInput.Close();
        process.WaitForExit();
        Client.Dispose();
        process.Dispose();
    }
}
