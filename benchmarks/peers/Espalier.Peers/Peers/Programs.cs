namespace Espalier.Peers;

/// <summary>How each side is started.</summary>
internal static class Programs
{
    private const string DebianPython = "/usr/bin/python3";

    /// <summary>This program again, in another role.</summary>
    public static ChildProcess This(params string[] arguments) => new(Environment.ProcessPath!, arguments);

    /// <summary>A child without AVX-512.</summary>
    public static ChildProcess WithoutAvx512(ChildProcess child) => child with { Environment = [("DOTNET_EnableAVX512", "0")] };

    /// <summary>Debian's Python, which sees Debian's PyTorch (any other one may stand before it on the PATH), with the OpenBLAS
    /// that run.sh put into the work folder.</summary>
    public static ChildProcess Torch(BenchSettings settings)
    {
        string libraries = Path.Combine(settings.Work, "openblas", "usr", "lib");
        string blas = Directory.EnumerateDirectories(libraries, "openblas-openmp", SearchOption.AllDirectories).First();
        return new(File.Exists(DebianPython) ? DebianPython : "python3", [Path.Combine(settings.Scripts, "torch_peer.py")],
            [("LD_LIBRARY_PATH", blas)]);
    }
}
