using Espalier.Tensors;

namespace Espalier.Inference;

/// <summary>An op as it is, on tensors that are filled from the maps and emptied into them. It allocates.</summary>
internal sealed unsafe class OpStep : Step
{
    private readonly Op op;
    private readonly (Reading Reading, Place Place)?[] maps;
    private readonly Tensor?[] constants;
    private readonly Reading result;
    private readonly Place to;

    public OpStep(OpLayer layer, Func<Map, Place> places)
    {
        (op, result, to) = (layer.Op, layer.Result, places(layer.Output));
        int next = 0;
        maps = [.. layer.Operands.Select(o => o.Reading is { } r ? ((Reading, Place)?)(r, places(layer.Inputs[next++])) : null)];
        constants = [.. layer.Operands.Select(o => o.Constant is { } weight ? Copied(weight) : null)];
        Bytes = constants.Sum(t => t is null ? 0 : sizeof(float) * t.Length);
    }

    public override long Bytes { get; }

    public override void Run(Lane lane)
    {
        using Recording.PauseBlock pause = Recording.Pause();
        using var scope = new Scope();
        var operands = new Tensor?[maps.Length];
        for (int i = 0; i < operands.Length; i++)
            operands[i] = maps[i] is { } map ? Filled(lane, map.Reading, map.Place) : constants[i];
        Tensor y = op.On(operands).Run();
        if (y.Shape != result.ShapeOf(lane))
            throw new InvalidOperationException($"{op.Name} gives {y.Shape} where the plan has {result.ShapeOf(lane)}");
        result.CopyIn(lane, y.Data, to);
    }

    public override void Dispose()
    {
        foreach (Tensor? constant in constants) constant?.Dispose();
    }

    private static Tensor Filled(Lane lane, Reading reading, Place place)
    {
        var x = new Tensor(reading.ShapeOf(lane)) { Rows = reading.RowsOf(lane) };
        reading.CopyOut(lane, place, x.Data);
        return x;
    }

    private static Tensor Copied(Weight weight)
    {
        Tensor copy = Tensor.Unscoped(weight.Shape);
        weight.Read(copy.Span);
        return copy;
    }
}
