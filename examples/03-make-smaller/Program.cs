// Makes any model smaller, says what that cost and gained, and writes it for C# and for other runtimes.
//     dotnet run -c Release --project examples/03-make-smaller MODEL IMAGE [STEPS]
// MODEL is .onnx or .safetensors; the images to fine-tune on are the embedded sample of Fashion-MNIST, so that it has ten classes.
using System.Globalization;
using Espalier.Evaluation;
using Espalier;
using Espalier.Compression;
using Espalier.Compression.Methods.Taylor;
using Espalier.Data;
using Espalier.Inference;
using Espalier.Onnx;
using Espalier.Training;

if (args is not [string file, string picture, ..])
{
    Console.Error.WriteLine("give a model file and an image file");
    return 2;
}
long steps = args.Length > 2 ? long.Parse(args[2], CultureInfo.InvariantCulture) : 100;

using Model model = Model.Open(file);                                         // or .pth and .npz, with the network's name
Console.WriteLine($"{picture} is {model.Predict(picture).Label}");            // prepared as the file says

TrainingData data = TrainingData.For(model, Datasets.OpenSample());
CompressedModel small = model.Compress(new Taylor { TargetFlops = 0.5, FineTuneSteps = steps }, data);
Console.WriteLine(small);

using Model result = small.Model;
result.Save("small.safetensors");                                             // one file that needs nothing else
result.ExportOnnx("small.onnx");
using Session session = result.Session();                                     // packed weights, no allocation, all threads
Console.WriteLine($"and now {new Predictor(session).Run(Espalier.Imaging.ImageFile.Read(picture)).Label}");
return 0;
