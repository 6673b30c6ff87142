namespace Espalier.Tensors.Kernels;

/// <summary>How many floats lie between neighbouring outputs and inputs of a convolution's weights, whose taps follow each
/// other; and whether the last tap is taken as the first. With a single tap one of the distances is 1.</summary>
internal readonly record struct WeightOrder(nint Output, nint Input, bool Turned = false);
