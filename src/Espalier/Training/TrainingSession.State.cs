using System.Globalization;
using Espalier.Data;
using Espalier.Formats;
using Espalier.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Training;

/// <summary>The checkpoint: what is in the state file, and how it is taken back.</summary>
internal sealed partial class TrainingSession
{
    private const string FormatKey = "espalier-training-state", FormatVersion = "1";
    private const string ThreadsKey = "threads", OptionPrefix = "option/", Augmentation = "Augmentation";

    /// <summary>
    /// Writes the model and then, as the last word, the state. Nothing without a folder or before the first step.
    /// </summary>
    private void Save()
    {
        if (folder is null || step == 0) return;
        if (!options.Writes)
        {
            saved = step;
            return;
        }
        using (ema?.Swap()) untrained.Released(() => task.SaveModel(folder.Model));
        history?.Flush();

        var state = new StateWriter();
        StateWriter model = state.Section("model"), optimizerState = state.Section("optimizer");
        foreach (var (name, value) in Weights()) model.Add(name, value);
        foreach (var (name, value) in optimizer.State()) optimizerState.Add(name, value);
        optimizerState.Add("updates", optimizer.Updates());
        if (ema is not null)
        {
            StateWriter averages = state.Section("ema");
            foreach (var (name, value) in ema.State()) averages.Add(name, value);
            state.Add("ema-updates", ema.Updates);
        }
        state.Add("step", step);
        state.Add("evaluated", evaluated);
        state.Add("loader", loader.Position.Epoch, loader.Position.BatchInEpoch);
        foreach (var (name, value) in best) state.Section("best").Add(name, value);
        window.Save(state.Section("log"));
        task.SaveState(state.Section("task"));

        var metadata = Identity().ToDictionary(o => OptionPrefix + o.Name, o => o.Value);
        metadata[FormatKey] = FormatVersion;
        metadata[ThreadsKey] = Workers.Threads.ToString(CultureInfo.InvariantCulture);
        state.Write(folder.State, metadata);
        saved = step;
    }

    private void Load(string path)
    {
        using SafetensorsReader file = SafetensorsReader.Open(path);
        Check(file);
        var state = new StateReader(file);
        StateReader model = state.Section("model"), optimizerState = state.Section("optimizer");
        foreach (var (name, value) in Weights()) model.Read(name, value);
        long[] updates = optimizerState.ReadLongs("updates");
        if (updates.Length != optimizer.Parameters.Count()) throw Damaged(path);
        optimizer.Load(updates, optimizerState.Read);
        if (ema is not null)
        {
            StateReader averages = state.Section("ema");
            foreach (var (name, value) in ema.State()) averages.Read(name, value);
            ema.Updates = state.ReadLong("ema-updates");
        }
        step = saved = state.ReadLong("step");
        evaluated = state.ReadLong("evaluated");
        if (step < 0 || step > options.Steps || evaluated > step) throw Damaged(path);
        if (state.ReadLongs("loader") is not [long epoch and >= 0, long number and >= 0] || number >= loader.BatchesPerEpoch)
            throw Damaged(path);
        loader.Position = new LoaderPosition(epoch, number);
        StateReader values = state.Section("best");
        foreach (string name in values.Names)
            best[name] = values.ReadDoubles(name) is [double value] ? value : throw Damaged(path);
        window.Load(state.Section("log"));
        task.LoadState(state.Section("task"));
    }

    /// <summary>Whether the state is of this run: the same options, data and parameters.</summary>
    private void Check(SafetensorsReader file)
    {
        if (file.Metadata.GetValueOrDefault(FormatKey) is not { } version)
            throw new EspalierException($"{file.Source}: is not a training state; choose another name, or move the file away.");
        if (version != FormatVersion)
            throw new EspalierException($"{file.Source}: is a training state of version {version}; this program reads "
                + $"version {FormatVersion}.");
        // What states of earlier versions may lack, with what it was then where that is known.
        Dictionary<string, string?> young = task.Identity.ToDictionary(o => o.Name, _ => (string?)null);
        young[Augmentation] = null;
        young[nameof(TrainOptions.FreezeExcept)] = null;
        young[nameof(TrainOptions.FreezeSteps)] = "0";
        young[nameof(TrainOptions.Precision)] = $"{Precision.Fp32}";
        young[nameof(TrainOptions.SyncBatchNorm)] = "no";
        foreach (var (name, now) in Identity())
        {
            string? then = file.Metadata.GetValueOrDefault(OptionPrefix + name);
            if (then is null && young.TryGetValue(name, out then) && then is null) continue;
            if (then != now)
                throw new EspalierException($"{file.Source}: {name} was {then ?? "not set"} and is {now} now; resume with "
                    + "the same, or train under another name.");
        }
        HashSet<string> here = [.. Weights().Select(p => p.Name)];
        // Counters of batches, which earlier versions kept: nothing reads them.
        HashSet<string> there = [.. new StateReader(file).Section("model").Names
            .Where(n => !n.EndsWith(".num_batches_tracked", StringComparison.Ordinal))];
        string? odd = there.FirstOrDefault(n => !here.Contains(n)) ?? here.FirstOrDefault(n => !there.Contains(n));
        if (odd is not null)
            throw new EspalierException($"{file.Source}: '{odd}' is only in {(here.Contains(odd) ? "this model" : "the file")}; "
                + "the state is of another model, train under another name.");
        string threads = Workers.Threads.ToString(CultureInfo.InvariantCulture);
        if (file.Metadata.GetValueOrDefault(ThreadsKey) is { } before && before != threads)
            progress.Message($"The run began with {before} threads and goes on with {threads}: equal to rounding only.");
    }

    private IEnumerable<(string Name, string Value)> Identity() =>
        [.. options.Identity(), ("TrainingData", dataset), (Augmentation, pipeline), ("ParameterGroups", groups), .. task.Identity];

    private IEnumerable<(string Name, Tensor Value)> Weights() => task.Graph.Weights.Values.Select(w => (w.Name, w.Tensor));

    private static EspalierException Damaged(string path) =>
        new($"{path}: the training state is damaged; delete it and start again.");
}
