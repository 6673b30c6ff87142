using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>How an attribute of an operator says what a setting of an op says.</summary>
internal enum OnnxForm
{
    Float,
    Int,

    /// <summary>True or false as 1 or 0.</summary>
    Flag,

    /// <summary>One number for rows and columns as two, or one for each.</summary>
    Twice,

    /// <summary>Top, bottom, left, right as top, left, bottom, right.</summary>
    Pads,

    /// <summary>An axis, which is one more behind the T of token rows.</summary>
    Axis,

    /// <summary>An order of axes.</summary>
    Order,

    /// <summary>Rows and columns of the weight, operand 1.</summary>
    Kernel,

    /// <summary>How often the weight's channels go into x's.</summary>
    Groups,

    /// <summary>The op has no such setting: it is always this number.</summary>
    Always,
}

/// <summary>An attribute of an operator and the setting of an op that it belongs to.</summary>
internal sealed record OnnxSetting(OnnxForm Form, string Attribute, string Setting = "", long Number = 0)
{
    public OnnxAttribute Write(OnnxCall call)
    {
        OpSettings from = call.Settings;
        return Form switch
        {
            OnnxForm.Float => OnnxAttribute.Float(Attribute, from.Float(Setting)),
            OnnxForm.Int => OnnxAttribute.Int(Attribute, from.Int(Setting)),
            OnnxForm.Flag => OnnxAttribute.Int(Attribute, from.Bool(Setting) ? 1 : 0),
            OnnxForm.Twice => Twice(from.Strides(Setting)),
            OnnxForm.Pads => Pads(from.Padding(Setting)),
            OnnxForm.Axis => OnnxAttribute.Int(Attribute, call.Axis(from.Int(Setting))),
            OnnxForm.Order => OnnxAttribute.Ints(Attribute, Order(from.Ints(Setting), call)),
            OnnxForm.Kernel => OnnxAttribute.Ints(Attribute, call.Shape(1)[2], call.Shape(1)[3]),
            OnnxForm.Groups => OnnxAttribute.Int(Attribute, call.Shape(0)[1] / call.Shape(1)[1]),
            _ => OnnxAttribute.Int(Attribute, Number),
        };
    }

    private OnnxAttribute Twice(Strides s) => OnnxAttribute.Ints(Attribute, s.Rows, s.Columns);

    private OnnxAttribute Pads(Padding p) => OnnxAttribute.Ints(Attribute, p.Top, p.Left, p.Bottom, p.Right);

    private static long[] Order(int[] axes, OnnxCall call) =>
        call.Tokens ? [0, 1, .. axes[1..].Select(call.Axis)] : [.. axes.Select(call.Axis)];
}
