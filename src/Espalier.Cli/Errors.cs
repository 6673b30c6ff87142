using System.CommandLine;
using Espalier.Cli.Options;

namespace Espalier.Cli;

/// <summary>From an exception to one line and an exit code.</summary>
internal static class Errors
{
    // errno of EIO, EFBIG, ENOSPC, EROFS and EDQUOT, and Windows' "disk full" codes: the device's fault, not the arguments'.
    private static readonly HashSet<int> DeviceFaults =
        [5, 27, 28, 30, 122, unchecked((int)0x80070027), unchecked((int)0x80070070)];

    /// <param name="parse">The command, whose options a message then names; null before it is known.</param>
    public static (int ExitCode, string Line) Describe(Exception exception, CommandContext context, ParseResult? parse) => exception switch
    {
        // Before anything could be saved; a training that has begun ends by itself and says how to go on.
        OperationCanceledException when context.Cancel.IsCancellationRequested => (context.ExitCode, "interrupted"),
        EspalierException e when parse is not null => Describe(FlagNames.Of(parse, [], e), context, null),
        EspalierException e => (IsDeviceFault(e.InnerException) ? ExitCodes.Failed : ExitCodes.WrongInput, OneLine(e.Message)),
        OutOfMemoryException => (ExitCodes.Failed, "not enough memory; choose a smaller batch or model"),
        IOException or UnauthorizedAccessException => (ExitCodes.Failed, OneLine(exception.Message)),
        _ => (ExitCodes.Failed,
            $"unexpected failure: {OneLine(exception.Message)} ({exception.GetType().Name}); --verbose shows where"),
    };

    public static string OneLine(string message) => string.Join(' ', message.Split('\n', '\r').Where(l => l.Length > 0)).Trim();

    private static bool IsDeviceFault(Exception? e) => e is IOException io && DeviceFaults.Contains(io.HResult);
}
