// Which of some sentences fits an image, as CLIP's own example asks it.
//     dotnet run -c Release --project examples/04-clip IMAGE [MODEL] [VOCABULARY]
// MODEL is a published name, which is fetched once, or a checkpoint; VOCABULARY is fetched where it is not given.
using Espalier.Clip;
using Espalier.Imaging;

if (args is not [string picture, ..])
{
    Console.Error.WriteLine("give an image file");
    return 2;
}
using ClipModel model = ClipModel.Open(args.ElementAtOrDefault(1) ?? "ViT-B/32",
    new ClipOptions { Vocabulary = args.ElementAtOrDefault(2) });

float[][] image = model.EncodeImage(ImageFile.Read(picture));
float[][] texts = model.EncodeText("a diagram", "a dog", "a cat");

float[] probabilities = model.Logits(image, texts).Probabilities()[0];
Console.WriteLine($"Label probs: {string.Join(' ', probabilities)}");           // of the README's picture: 0.9928 0.0042 0.0030
return 0;
