using Espalier.Compression;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Compression;

/// <summary>Dependency graphs of modules, whose own tensors a removal then makes smaller.</summary>
internal static class ModuleGraphs
{
    public static DependencyGraph Build(Module net, Func<Tensor, Tensor> forward, Tensor example, params HeadView[] views)
    {
        net.Training = false;
        Shape images = example.Shape.With(0, Math.Max(2, example.Shape[0]));
        return DependencyGraph.Build(Graph.Trace(forward, images, net.StateDict()), example, views);
    }
}
