namespace Espalier.Cli;

/// <summary>From an exception to one line and an exit code.</summary>
internal static class Errors
{
    // errno of EIO, EFBIG, ENOSPC, EROFS and EDQUOT, and Windows' "disk full" codes: the device's fault, not the arguments'.
    private static readonly HashSet<int> DeviceFaults =
        [5, 27, 28, 30, 122, unchecked((int)0x80070027), unchecked((int)0x80070070)];

    public static (int ExitCode, string Line) Describe(Exception exception) => exception switch
    {
        EspalierException e => (IsDeviceFault(e.InnerException) ? ExitCodes.Failed : ExitCodes.WrongInput, OneLine(e.Message)),
        OutOfMemoryException => (ExitCodes.Failed, "not enough memory; choose a smaller batch or model"),
        IOException or UnauthorizedAccessException => (ExitCodes.Failed, OneLine(exception.Message)),
        _ => (ExitCodes.Failed,
            $"unexpected failure: {OneLine(exception.Message)} ({exception.GetType().Name}); --verbose shows where"),
    };

    public static string OneLine(string message) => string.Join(' ', message.Split('\n', '\r').Where(l => l.Length > 0)).Trim();

    private static bool IsDeviceFault(Exception? e) => e is IOException io && DeviceFaults.Contains(io.HResult);
}
