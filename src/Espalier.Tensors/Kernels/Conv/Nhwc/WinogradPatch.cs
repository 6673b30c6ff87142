namespace Espalier.Tensors.Kernels;

/// <summary>Where a tile's 6 x 6 input pixels lie: six lines, each with the distance between its pixels, 0 where the line is
/// outside the image and its pointer one to zeros; and the columns that are inside.</summary>
internal unsafe struct WinogradPatch
{
    public float* Row0, Row1, Row2, Row3, Row4, Row5;
    public nint Step0, Step1, Step2, Step3, Step4, Step5;

    /// <summary>The first column inside, and the one after the last.</summary>
    public int Left, Right;

    /// <summary>The patch at a line and column of an image, which may be outside.</summary>
    public WinogradPatch(float* image, int height, int width, int ldx, int row, int column, float* zeros)
    {
        Left = Math.Max(0, -column);
        Right = Math.Min(Winograd.In, width - column);
        Row0 = Place(0, out Step0);
        Row1 = Place(1, out Step1);
        Row2 = Place(2, out Step2);
        Row3 = Place(3, out Step3);
        Row4 = Place(4, out Step4);
        Row5 = Place(5, out Step5);

        float* Place(int i, out nint step)
        {
            bool inside = (uint)(row + i) < (uint)height;
            step = inside ? ldx : 0;
            return inside ? image + ((((nint)(row + i) * width) + column) * ldx) : zeros;
        }
    }
}

/// <summary>Where a tile's outputs go: at most 4 x 4, fewer at the edges; and the residual, null for none.</summary>
internal unsafe struct WinogradTarget
{
    public float* Y, Residual;
    public nint Step, Line, ResidualStep, ResidualLine;
    public int Rows, Columns;
}
