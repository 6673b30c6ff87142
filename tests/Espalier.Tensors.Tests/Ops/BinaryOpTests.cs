namespace Espalier.Tensors.Tests.Ops;

public class BinaryOpTests
{
    private static readonly Dictionary<string, (Func<Tensor, Tensor, Tensor> Op, Func<float, float, float> Expected)> Table =
        new()
        {
            ["Add"] = (F.Add, (a, b) => a + b),
            ["Sub"] = (F.Sub, (a, b) => a - b),
            ["Mul"] = (F.Mul, (a, b) => a * b),
            ["Div"] = (F.Div, (a, b) => a / b),
        };

    public static TheoryData<string> Names => [.. Table.Keys];

    [Theory, MemberData(nameof(Names))]
    public void GradientMatchesDifferences(string name)
    {
        using var scope = new Scope();
        foreach (var (a, b) in new (int[], int[])[]
                 {
                     ([2, 3], [2, 3]), ([2, 3], [3]), ([2, 1], [2, 3]), ([], [2, 2]), ([3, 1, 2], [2, 1]), ([2, 1, 3], [1, 2, 1]),
                 })
        {
            GradientCheck.Check(t => Table[name].Op(t[0], t[1]), GradientCheck.Random(1, a), GradientCheck.AwayFromZero(2, 1, b));
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void AnOperandMayComeTwice(string name)
    {
        using var scope = new Scope();
        GradientCheck.Check(t => Table[name].Op(t[0], t[0]), GradientCheck.AwayFromZero(2, 1, 2, 3));
    }

    [Theory, MemberData(nameof(Names))]
    public void LargeOperandsAreSharedByThreads(string name)
    {
        // Every way of walking: whole, by columns, by outer rows, by single values, all to one value.
        foreach (var (a, b) in new (int[], int[])[]
                 {
                     ([300, 1001], [300, 1001]), ([300, 1001], [1001]), ([300, 1001], [300, 1]), ([40, 9, 1000], [1, 9, 1]),
                     ([4, 30, 5000], [30, 1]), ([300, 1001], []), ([70_000, 3], [3]),
                 })
        {
            using var scope = new Scope();
            using var recording = new Recording();
            Tensor x = GradientCheck.Random(3, a), z = GradientCheck.AwayFromZero(4, 1, b);
            x.RequiresGrad = z.RequiresGrad = true;
            Tensor y = Table[name].Op(x, z);
            recording.Backward(y, Tensor.Full(y.Shape, 1));
            var dz = new double[z.Length];
            for (int i = 0; i < y.Length; i++)
            {
                int at = Place(i, y.Shape, z.Shape);
                if (Table[name].Expected(x.Span[i], z.Span[at]) != y.Span[i]) Assert.Fail($"element {i}: {y.Span[i]}");
                double u = x.Span[i], v = z.Span[at];
                dz[at] += name switch { "Add" => 1, "Sub" => -1, "Mul" => u, _ => -u / v / v };
            }
            for (int i = 0; i < dz.Length; i++) Assert.Equal(dz[i], z.Grad!.Span[i], 2e-4 * Math.Max(10, Math.Abs(dz[i])));
        }
    }

    [Fact]
    public void RepeatedAxesAreNotCoupled()
    {
        Assert.Equal(["y0=x0", "y1=x1", "y1=z0"], FlowCheck.Of(t => F.Add(t[0], t[1]), [4, 3], [3]));
        Assert.Equal(["y0=x0", "y1=x1", "y2=x2", "y1=z0", "y2=z1"],
            FlowCheck.Of(t => F.Mul(t[0], t[1]), [2, 3, 4], [3, 4]));
        Assert.Equal(["y1=x1", "y0=z0"], FlowCheck.Of(t => F.Sub(t[0], t[1]), [1, 4], [3, 1]));
    }

    [Fact]
    public void ShapesThatDoNotBroadcastAreNamed()
    {
        using var scope = new Scope();
        var e = Assert.Throws<ArgumentException>(() => F.Mul(GradientCheck.Random(1, 2, 3), GradientCheck.Random(1, 2)));
        Assert.Contains("Mul: [2,3] and [2]", e.Message);
    }

    [Fact]
    public void NothingComesFromNothing()
    {
        using var scope = new Scope();
        Assert.Equal(new Shape(0, 3), F.Add(new Tensor(new Shape(0, 3)), GradientCheck.Random(1, 3)).Shape);
    }

    private static int Place(int i, Shape shape, Shape operand)
    {
        int place = 0, stride = 1;
        for (int axis = 1; axis <= shape.Rank; axis++)
        {
            (i, int at) = Math.DivRem(i, shape[-axis]);
            if (axis > operand.Rank) break;
            if (operand[-axis] != 1) place += at * stride;
            stride *= operand[-axis];
        }
        return place;
    }
}
