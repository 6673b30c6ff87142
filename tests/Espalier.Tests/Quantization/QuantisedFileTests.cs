using System.Text.Json;
using Espalier.Files;
using Espalier.Formats;
using Espalier.Inference;
using Espalier.Quantization;
using Espalier.Tensors;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Quantization;

/// <summary>Models with weights of few bits as files.</summary>
public sealed class QuantisedFileTests : IDisposable
{
    private readonly TempFolder folder = new();

    private string File => Path.Combine(folder.Path, "model.safetensors");

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(8, 0, 0.30)]
    [InlineData(4, 0, 0.18)]
    [InlineData(8, -1, 0.30)]
    [InlineData(3, -1, 0.18)]
    public void AFileHoldsCodesAndGivesTheSameLogits(int bits, int axis, double size)
    {
        using Model model = Rounded(bits, axis);
        using var scope = new Scope();
        Tensor images = Images();
        float[] logits = model.Graph.Run(images).ToArray();
        model.Save(File, keepFloats: true);
        long floats = new FileInfo(File).Length;
        using (Model same = Model.Open(File)) Assert.Equal(logits, same.Graph.Run(images).ToArray());
        model.Save(File);
        Assert.InRange(new FileInfo(File).Length, 1, size * floats);
        using Model read = Model.Open(File);
        Assert.Equal(logits, read.Graph.Run(images).ToArray());
        using (Session session = Session.Open(File))
        {
            var actual = new float[logits.Length];
            session.Run(images.Span, 2, actual);
            for (int i = 0; i < actual.Length; i++) Assert.Equal(logits[i], actual[i], 0.02f * logits.Max(MathF.Abs));
        }
        read.Save(File);
        using Model again = Model.Open(File);
        Assert.Equal(logits, again.Graph.Run(images).ToArray());
        Assert.Equal(model.ParameterCount, again.ParameterCount);
    }

    /// <summary>The largest book that there is: its last code is the largest number of two bytes.</summary>
    [Fact]
    public void CodesOfTheLargestBookAreTwoBytes()
    {
        using Tensor book = Tensor.Parameter(new Shape(65536, 1)), codes = Tensor.Unscoped(new Shape(2, 2));
        float[] values = [0, 65535, 255, 32768];
        values.CopyTo(codes.Span);
        Graph graph = Graph.Trace(x => F.Linear(x, F.CodeBook(book, codes, [2, 2])), new Shape(1, 2),
            [("book", book), ("codes", codes)]);
        Safetensors.Write(File, [StoredCodes.Of(graph)["codes"].Entry(graph.Weights["codes"], graph)]);
        Assert.Equal(values, Safetensors.Read(File).Arrays["codes"].Data);
        Assert.InRange(new FileInfo(File).Length, 1, 200);
    }

    /// <summary>A byte for each block, and a book of halves; of numbers that no half holds it is of floats.</summary>
    [Theory]
    [InlineData(new[] { 64, 64, 3, 3 }, 9, 0.5f, 4096, 4608, 16.94)]
    [InlineData(new[] { 64, 64, 3, 3 }, 9, 0.1f, 4096, 9216, 11.08)]
    [InlineData(new[] { 1024, 1024 }, 8, 0.5f, 131072, 4096, 31.03)]
    public void WhatACodeBookTakes(int[] sizes, int width, float entry, int codes, int book, double ratio)
    {
        using Tensor entries = Tensor.Parameter(new Shape(256, width));
        using Tensor chosen = Tensor.Unscoped(new Shape(sizes[1..].Aggregate((a, b) => a * b) / width, sizes[0]));
        entries.Fill(entry);
        chosen.Fill(0);
        bool maps = sizes.Length == 4;
        Graph graph = Graph.Trace(x => maps ? F.Conv2d(x, Weight()) : F.Linear(x, Weight()),
            maps ? new Shape(1, sizes[1], 3, 3) : new Shape(1, sizes[1]), [("book", entries), ("codes", chosen)]);
        ModelFormat.Write(File, graph, new ModelCard());
        byte[] file = System.IO.File.ReadAllBytes(File);
        using JsonDocument header = JsonDocument.Parse(file.AsMemory(8, (int)BitConverter.ToInt64(file)));
        Assert.Equal((codes, book), (Bytes("codes"), Bytes("book")));
        Assert.Equal(ratio, 4.0 * sizes.Aggregate((a, b) => a * b) / (Bytes("codes") + Bytes("book")), 0.005);

        Tensor Weight() => F.CodeBook(entries, chosen, sizes);

        int Bytes(string name)
        {
            JsonElement at = header.RootElement.GetProperty(name).GetProperty("data_offsets");
            return at[1].GetInt32() - at[0].GetInt32();
        }
    }

    [Fact]
    public void CodesPastTheirRangeAndMissingScalesAreOneLine()
    {
        using Model model = Rounded(8, 0);
        model.Save(File);
        Checkpoint file = Safetensors.Read(File);
        NamedArray codes = file.Arrays.Values.First(a => a.Name == "conv1.weight");
        Assert.Contains("holds the code -128", Refused(a => a == codes, a => new NamedArray(a.Name, a.Shape, [-128,
            .. a.Data[1..]])));
        Assert.Contains("conv1.weight.scale", Refused(a => a.Name == "conv1.weight.scale", a => new NamedArray(a.Name, [1],
            a.Data[..1])));
        Assert.Contains("conv1.weight", Refused(a => a == codes, a => new NamedArray(a.Name, [1], a.Data[..1])));
        Assert.Contains("scales are above 0", Refused(a => a.Name == "conv1.weight.scale", a => new NamedArray(a.Name, a.Shape,
            new float[a.Data.Length])));
        Assert.Contains("conv1.weight.scale", Refused(a => a.Name == "conv1.weight.scale", _ => null));

        string Refused(Func<NamedArray, bool> which, Func<NamedArray, NamedArray?> damage)
        {
            string damaged = Path.Combine(folder.Path, "damaged.safetensors");
            Safetensors.Write(damaged, file.Arrays.Values.Select(a => which(a) ? damage(a) : a).OfType<NamedArray>().Select(a =>
                a.Name == "conv1.weight"
                ? new SafetensorsEntry(a.Name, ElementType.I8, a.Shape, a.Data.Select(v => (byte)(sbyte)v).ToArray())
                : SafetensorsEntry.FromFloats(a.Name, a.Shape, a.Data)), file.Metadata);
            string message = Assert.Throws<EspalierException>(() =>
            {
                using Model read = Model.Open(damaged);
                using var scope = new Scope();
                read.Graph.Run(Images());
            }).Message;
            Assert.DoesNotContain('\n', message);
            return message;
        }
    }

    private static Model Rounded(int bits, int axis)
    {
        Model model = Model.Create("resnet20", classes: 10, imageSize: 16);
        foreach (GraphValue weight in model.Graph.Nodes.Where(n => n.Op is Conv2dOp or LinearOp).Select(n =>
            n.Operands[1]!).ToArray())
            QuantisedValue.Insert(model.Graph, weight, CodeFormat.Weight(bits), axis).SetRangeOfWeight();
        return model;
    }

    private static Tensor Images()
    {
        var images = new Tensor(new Shape(2, 3, 16, 16));
        var rng = new Rng(4);
        foreach (ref float x in images.Span) x = rng.NextFloat(-1, 1);
        return images;
    }
}
