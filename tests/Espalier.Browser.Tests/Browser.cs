using Espalier.Tests;
using Microsoft.Playwright;
using Xunit.Abstractions;

namespace Espalier.Browser.Tests;

/// <summary>The machine's own Chromium, headless. One for a test class.</summary>
public sealed class Browser : IAsyncLifetime
{
    private const string Executable = "/usr/bin/chromium";

    private static readonly string[] Arguments =
    [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    ];

    private IPlaywright? playwright;

    /// <summary>Null where the machine has no Chromium.</summary>
    public IBrowser? Instance { get; private set; }

    /// <summary>Says why a test that needs a browser does nothing here.</summary>
    public static void SayMissing(ITestOutputHelper output) => Missing.Say($"Chromium at {Executable}", "chromium", output);

    public async Task InitializeAsync()
    {
        if (!File.Exists(Executable)) return;
        playwright = await Playwright.CreateAsync();
        Instance = await playwright.Chromium.LaunchAsync(new() { ExecutablePath = Executable, Args = Arguments });
    }

    public async Task DisposeAsync()
    {
        if (Instance != null) await Instance.DisposeAsync();
        playwright?.Dispose();
    }
}
