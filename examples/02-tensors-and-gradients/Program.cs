// The engine without a model: a recording, gradients, costs, and attention on images with different numbers of tokens.
//     dotnet run -c Release --project examples/02-tensors-and-gradients
using Espalier.Tensors;

using var scope = new Scope();                                      // returns all tensors below to the pool when it closes
var rng = new Rng(seed: 1);

// Two images packed one after the other: 3 tokens and 2 tokens of width 4. Nothing is padded.
RowSet offsets = RowSet.FromLengths([3, 2]);
Tensor tokens = Random(offsets.Rows, 4);                            // [5, 4]
tokens.Rows = offsets;                                              // results of ops know whose rows they are too
Tensor weight = Random(4, 4);                                       // [out, in]
weight.RequiresGrad = true;

using var recording = new Recording();
Tensor projected = F.Linear(tokens, weight);                        // [5, 4], one product for both images
Tensor mixed = F.Attention(projected, projected, projected, HeadLayout.Uniform(2, 2), scale: 1 / MathF.Sqrt(2));
Tensor first = F.GatherRows(mixed, [offsets[0], offsets[1]]);       // [2, 4], the first token of each image
Tensor loss = F.CrossEntropy(first, [1, 3]);
recording.Backward(loss);

Console.WriteLine($"loss {loss.Item():0.0000}");
foreach (Op op in recording.Ops)
    Console.WriteLine($"{op.Name,-14}{op.Output.Shape,-8}{op.Cost.MultiplyAdds,6} multiply-adds");
Console.WriteLine($"dL/dW [0] = {string.Join(", ", weight.Grad!.ToArray()[..4])}");

Tensor Random(int rows, int columns)
{
    var t = new Tensor(new Shape(rows, columns));
    foreach (ref float x in t.Span) x = rng.NextNormal();
    return t;
}
