namespace Espalier.Formats;

/// <summary>
/// Which classes may be in a pickle beside its tensors: settings, paths, schedules, the training script's own. Their objects are
/// kept as names and never made; nothing of a pickle is run in any case. What would run a command or take the interpreter's own
/// parts says that the file is an attack, and what would build tensors in a way that is not read, that it would be read wrongly:
/// both are refused.
/// </summary>
internal static class InertNames
{
    private static readonly HashSet<string> Dangerous =
    [
        "os", "posix", "nt", "sys", "subprocess", "importlib", "runpy", "socket", "shutil", "ctypes", "pickle", "_pickle",
        "cloudpickle", "dill", "code", "codeop", "pty", "webbrowser", "marshal", "types", "functools", "operator", "threading",
        "multiprocessing",
        "asyncio", "tempfile", "fileinput", "urllib", "http", "ftplib", "requests", "pip", "commands", "signal", "inspect", "ast",
        "timeit", "pdb", "bdb", "profile", "cProfile", "linecache", "site", "gc", "atexit", "zipimport", "pkgutil", "platform",
        "__torch__",
    ];

    /// <summary>Of these modules, what settings are made of.</summary>
    private static readonly HashSet<string> Settings = ["types.SimpleNamespace", "functools.partial"];

    /// <summary>Of the interpreter's own names, those of plain values, and how members of enumerations are written.</summary>
    private static readonly HashSet<string> Values =
    [
        "set", "frozenset", "complex", "slice", "range", "bytearray", "object", "int", "float", "str", "bytes", "bool", "list", "dict",
        "tuple", "getattr",
    ];

    /// <summary>What builds tensors; those that are read are in <see cref="TorchGlobals"/>.</summary>
    private static readonly string[] Tensors = ["torch._utils.", "torch._tensor.", "torch.storage.", "torch.jit."];

    /// <param name="name">Module and name.</param>
    public static bool IsHarmless(string name)
    {
        string[] parts = name.Split('.');
        if (parts[0] == "builtins") return parts.Length == 2 && Values.Contains(parts[1]);
        return parts.Length >= 2 && (!Dangerous.Contains(parts[0]) || Settings.Contains(name))
            && !parts[1..].Contains("__globals__") && !Tensors.Any(t => name.StartsWith(t, StringComparison.Ordinal));
    }
}
