namespace Espalier.Tensors.Kernels;

/// <summary>One matrix product: C [M, N] = op(A) [M, K] op(B) [K, N], row-major, with its epilogue and the tiles that do it.
/// </summary>
internal unsafe struct Product
{
    public TileSet Tiles;
    public int M;
    public int N;
    public int K;
    public bool TransA;
    public bool TransB;
    public float* A;
    public int Lda;
    public float* B;
    public int Ldb;

    /// <summary><see cref="PackedB.Data"/>, or null where B is a plain matrix.</summary>
    public float* Panels;

    public float* C;
    public int Ldc;
    public Epilogue Epilogue;
}
