using Espalier.Coverage;
using Xunit.Abstractions;

namespace Espalier.Tests.Onnx;

/// <summary>
/// ONNX's own cases: none is answered wrongly, and what was read once is read for good. Where Debian's libonnx-testdata is not installed
/// nothing is checked, unless ESPALIER_EXPECT_ALL is 1; the tests' script installs it.
/// </summary>
public sealed class OnnxScoreboardTests(ITestOutputHelper output)
{
    private const string Data = "/usr/share/libonnx-testdata/data";

    /// <summary>Of listed operators, and refused: texts, training, indices beside a maximum, numbers beyond float32.</summary>
    private static readonly string[] Refused =
    [
        "cast_FLOAT_to_STRING", "cast_STRING_to_FLOAT", "castlike_FLOAT_to_STRING", "castlike_FLOAT_to_STRING_expanded",
        "castlike_STRING_to_FLOAT", "castlike_STRING_to_FLOAT_expanded", "training_dropout", "training_dropout_default",
        "training_dropout_default_mask", "training_dropout_mask", "operator_add_broadcast", "operator_add_size1_right_broadcast",
        "operator_add_size1_singleton_broadcast", "operator_addconstant", "batchnorm_epsilon_training_mode",
        "batchnorm_example_training_mode", "maxpool_with_argmax_2d_precomputed_pads", "maxpool_with_argmax_2d_precomputed_strides",
        "MaxPool1d_stride_padding_dilation", "identity_opt", "identity_sequence",
    ];

    [Fact]
    public void What_was_read_once_is_read_for_good()
    {
        if (!Directory.Exists(Data))
        {
            Missing.Say(Data, "libonnx-testdata", output);
            return;
        }
        Scoreboard.Case[] cases = [.. Scoreboard.Cases(Data).OfType<Scoreboard.Case>()];
        Assert.True(cases.Length >= 600, $"{cases.Length} cases");
        Assert.Empty(cases.Where(c => c.IsWrong).Select(c => $"{c.Name}: {c.Refusal}"));
        string[] names = [.. Refused.Select(n => "test_" + n)];
        Assert.Empty(cases.Where(c => c.Refusal is not null && !names.Contains(c.Name)).Select(c => $"{c.Name}: {c.Refusal}"));
    }
}
