using System.Text;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Imaging;
using Espalier.Inference;

namespace Espalier.Reproduce;

/// <summary>
/// What agents let go of, class by class: of the patches in which nothing is to be seen (every pixel is 0, as Fashion-MNIST's
/// background is) and of the others, how many no token is left of behind the last agent.
/// </summary>
internal sealed class DroppedPatches
{
    /// <summary>Patches of some images.</summary>
    internal sealed class Counts
    {
        public int Images { get; set; }

        public int Empty { get; set; }

        public int Others { get; set; }

        public int EmptyDropped { get; set; }

        public int OthersDropped { get; set; }

        public double Left => (double)(Empty + Others - EmptyDropped - OthersDropped) / Images;

        public static Counts Sum(IReadOnlyList<Counts> all) => new()
        {
            Images = all.Sum(c => c.Images),
            Empty = all.Sum(c => c.Empty),
            Others = all.Sum(c => c.Others),
            EmptyDropped = all.Sum(c => c.EmptyDropped),
            OthersDropped = all.Sum(c => c.OthersDropped),
        };
    }

    private readonly IImageDataset data;
    private readonly int grid, prefix;

    public DroppedPatches(IImageDataset data, Session model) : this(data, model.TokenGrid, model.PrefixTokens) { }

    /// <param name="grid">Patches a side.</param>
    /// <param name="prefix">Tokens before the patches.</param>
    internal DroppedPatches(IImageDataset data, int grid, int prefix)
    {
        (this.data, this.grid, this.prefix) = (data, grid, prefix);
        ByClass = [.. Enumerable.Range(0, data.Classes).Select(_ => new Counts())];
    }

    public IReadOnlyList<Counts> ByClass { get; }

    public Counts All => Counts.Sum(ByClass);

    /// <summary>Counts an image of a pruned pass.</summary>
    public void Add(ImageResult result)
    {
        Counts counts = ByClass[result.Label];
        counts.Images++;
        Image image = data.ReadImage(result.Index);
        var kept = result.Kept![^1].ToHashSet();
        for (int patch = 0; patch < grid * grid; patch++)
        {
            bool dropped = !kept.Contains(prefix + patch);
            if (IsEmpty(image, patch / grid, patch % grid))
            {
                counts.Empty++;
                if (dropped) counts.EmptyDropped++;
            }
            else
            {
                counts.Others++;
                if (dropped) counts.OthersDropped++;
            }
        }
    }

    /// <summary>A line a class, with the lines of a table as groups of columns.</summary>
    /// <param name="lines">Of the same images.</param>
    public static string Table(IReadOnlyList<(string Name, DroppedPatches Dropped)> lines)
    {
        DroppedPatches first = lines[0].Dropped;
        var text = new StringBuilder("| class | empty patches |");
        foreach ((string name, _) in lines) text.Append($" {name}: patches left | of the empty gone | of the others gone |");
        text.AppendLine().Append("| --- | ---: |").Insert(text.Length, " ---: | ---: | ---: |", lines.Count).AppendLine();
        for (int c = 0; c < first.ByClass.Count; c++) Line(first.data.ClassNames[c], d => d.ByClass[c]);
        Line("all", d => d.All);
        return text.ToString();

        void Line(string name, Func<DroppedPatches, Counts> of)
        {
            Counts some = of(first);
            text.Append($"| {name} | {Share(some.Empty, some.Empty + some.Others)} |");
            foreach ((_, DroppedPatches dropped) in lines)
            {
                Counts n = of(dropped);
                text.Append(FormattableString.Invariant($" {n.Left:0.0} | {Share(n.EmptyDropped, n.Empty)} | {Share(n.OthersDropped, n.Others)} |"));
            }
            text.AppendLine();
        }
    }

    private static string Share(int part, int whole) => whole == 0 ? "" : FormattableString.Invariant($"{100.0 * part / whole:0} %");

    private bool IsEmpty(Image image, int row, int column)
    {
        int width = image.Width * image.Channels, from = column * image.Width / grid, to = (column + 1) * image.Width / grid;
        for (int y = row * image.Height / grid; y < (row + 1) * image.Height / grid; y++)
            if (image.Pixels.AsSpan(y * width + from * image.Channels, (to - from) * image.Channels).ContainsAnyExcept((byte)0)) return false;
        return true;
    }
}
