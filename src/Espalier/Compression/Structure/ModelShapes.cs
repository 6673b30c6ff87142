using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Gives a freshly built network the shapes that a removal left, so that the smaller checkpoint can be loaded into it: the shapes
/// of the file's own tensors are all that is needed.
/// </summary>
public static class ModelShapes
{
    /// <summary>Parameters and buffers whose shape differs get the one named, and hold zeros until they are loaded.</summary>
    /// <param name="shapes">By state dict name; names that the model lacks are left to the loader.</param>
    /// <exception cref="EspalierException">A shape has another rank, or is larger than the one built.</exception>
    public static void Apply(Module model, IReadOnlyDictionary<string, Shape> shapes)
    {
        (Tensor Tensor, Shape Shape)[] changes =
        [
            .. from s in model.StateDict()
               where shapes.TryGetValue(s.Name, out Shape shape) && shape != s.Value.Shape
               select (s.Value, Fitting(s.Name, s.Value.Shape, shapes[s.Name])),
        ];
        foreach (var (tensor, shape) in changes)
        {
            using Tensor zeros = Tensor.Unscoped(shape);
            zeros.Fill(0);
            tensor.Exchange(zeros);
        }
    }

    private static Shape Fitting(string name, Shape built, Shape wanted)
    {
        bool fits = wanted.Rank == built.Rank;
        for (int axis = 0; fits && axis < built.Rank; axis++) fits = wanted[axis] >= 1 && wanted[axis] <= built[axis];
        return fits
            ? wanted
            : throw new EspalierException($"'{name}' has shape {wanted}, which cannot be left of {built} by pruning");
    }
}
