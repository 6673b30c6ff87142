// Trains a small APT on the embedded images, saves it, loads it again and compares it with itself unpruned.
//     dotnet run -c Release --project examples/01-train-and-prune [STEPS]
using System.Globalization;
using Espalier.Evaluation;
using Espalier;
using Espalier.Compression;
using Espalier.Compression.Methods.Apt;
using Espalier.Data;
using Espalier.Inference;
using Espalier.Training;

const string path = "apt.safetensors";
long steps = args.Length > 0 ? long.Parse(args[0], CultureInfo.InvariantCulture) : 300;

DatasetPair data = Datasets.OpenSample();                                     // 2,000 + 1,000 images of Fashion-MNIST
var (train, heldOut) = Subset.HoldOutTail(data.Train, 0.1);                   // the test images choose nothing
ImagePipeline eval = ImagePipeline.Eval(28, 1);

using (Model model = Model.Create("vit-tiny-28"))
{
    TokenAgents.Add(model);                                                   // after a quarter, a half and three quarters of the blocks
    model.Card = model.Card with { Classes = data.Train.ClassNames, Dataset = data.Info.Name };
    var task = new AptTask(model, Apt.FromScratch with { Budget = 0.5f });
    var options = new TrainOptions { Steps = steps, BatchSize = 32, Optimizer = "adamw", LearningRate = 2e-3f, EvalEvery = 0 };
    var input = new TrainingData(train, ImagePipeline.Train(data.Info, 28, 1), heldOut, eval);
    new Trainer(task, input, options).Run();
    task.SaveModel(path);
}

using Session session = Session.Open(path);                                   // the file says all: shape, agents, classes
using var images = new DataLoader(data.Test, eval, batchSize: 100);
Show("unpruned", new Evaluator(session, Pruning.None).Run(images.Once()));
Show("pruned", new Evaluator(session).Run(images.Once()));

static void Show(string name, ModelEvaluation e)
{
    string tokens = string.Join(", ", e.Tokens.Select(t => $"{t:0.0}"));
    Console.WriteLine($"{name,-10}accuracy {e.Accuracy:P1}   {e.MultiplyAdds / 1e6:0.00} M multiply-adds   tokens {tokens}");
}
