using Espalier.Formats.Onnx;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Onnx;

/// <summary>Resizing of maps [N, C, H, W].</summary>
internal static class OnnxResize
{
    /// <summary>Since this opset a resize may name the axes that its sizes are of.</summary>
    private const int AxesOpset = 18;

    public static string Write(OnnxCall call)
    {
        int height = call.Settings.Int("height"), width = call.Settings.Int("width");
        ResizeMode mode = call.Settings.Word<ResizeMode>("mode");
        Shape x = call.Shape(0);
        if (mode == ResizeMode.Nearest && !(IsEven(x[2], height) && IsEven(x[3], width)))
            return Pick(call, "", Pick(call, "rows", call[0], 2, x[2], height), 3, x[3], width);
        List<OnnxAttribute> attributes = mode switch
        {
            ResizeMode.Nearest => [.. Kind("nearest", "asymmetric"), OnnxAttribute.Text("nearest_mode", "floor")],
            ResizeMode.Bilinear => [.. Kind("linear", "half_pixel")],
            ResizeMode.BilinearAlignCorners => [.. Kind("linear", "align_corners")],
            _ => [.. Kind("cubic", "half_pixel"), OnnxAttribute.Float("cubic_coeff_a", -0.75f)],
        };
        string sizes = call.Ints(height, width);
        if (call.Opset >= AxesOpset) attributes.Add(OnnxAttribute.Ints("axes", 2, 3));
        else
        {
            string images = call.Part("images", "Shape", [call[0]], OnnxAttribute.Int("start", 0), OnnxAttribute.Int("end", 2));
            sizes = call.Part("sizes", "Concat", [images, sizes], OnnxAttribute.Int("axis", 0));
        }
        return call.Result("Resize", [call[0], "", "", sizes], attributes);
    }

    /// <summary>
    /// Whether one grid's points are each a number of the other's, and the nearest ones those that whole numbers give: else
    /// runtimes round to other neighbours than PyTorch.
    /// </summary>
    private static bool IsEven(int inputs, int outputs) => (inputs % outputs == 0 || outputs % inputs == 0)
        && !Nearest(inputs, outputs).Where((at, i) => at != (long)i * inputs / outputs).Any();

    private static string Pick(OnnxCall call, string what, string x, int axis, int inputs, int outputs)
    {
        string list = call.Ints(Nearest(inputs, outputs));
        OnnxAttribute along = OnnxAttribute.Int("axis", axis);
        return what.Length > 0 ? call.Part(what, "Gather", [x, list], along) : call.Result("Gather", [x, list], along);
    }

    private static long[] Nearest(int inputs, int outputs) =>
        [.. ResizeTable.Create(inputs, outputs, ResizeMode.Nearest).Index.Select(i => (long)i)];

    private static OnnxAttribute[] Kind(string mode, string coordinates) =>
        [OnnxAttribute.Text("mode", mode), OnnxAttribute.Text("coordinate_transformation_mode", coordinates)];
}
