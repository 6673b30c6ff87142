using System.Text;
using System.Text.Json;
using Espalier.Clip;
using Espalier.Evaluation;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Tests.Clip;
using static Espalier.Server.Tests.Served;

namespace Espalier.Server.Tests;

public sealed class PredictTests(Served served) : IClassFixture<Served>
{
    private HttpClient Client => served.Client;

    [Theory]
    [InlineData("")]
    [InlineData("&threshold=0.3")]
    [InlineData("&keep=0.4")]
    [InlineData("&prune=false")]
    public async Task APictureGetsWhatThePredictorSays(string rule)
    {
        using Session session = Session.Open(Agents);
        if (rule.Contains("threshold")) session.Pruning = Pruning.Threshold(0.3f);
        if (rule.Contains("keep")) session.Pruning = Pruning.KeepShare(0.4);
        if (rule.Contains("prune")) session.Pruning = Pruning.None;
        Prediction expected = new Predictor(session).Run(ImageFile.Read(Repository.Picture()));
        JsonElement answer = await Json(await Client.PostAsync("/v1/predict?top=3" + rule, FileContent(Repository.Picture())));
        Assert.Equal("apt-fashion-mnist", answer.GetProperty("model").GetString());
        Assert.Equal(session.Pruning.ToString(), answer.GetProperty("pruning").GetString());
        JsonElement result = answer.GetProperty("results")[0];
        Assert.Equal(expected.Ranking.Take(3).Select(c => (c, expected.Name(c), expected.Probabilities[c])),
            result.GetProperty("classes").EnumerateArray().Select(c => (c.GetProperty("class").GetInt32(),
                c.GetProperty("name").GetString()!, c.GetProperty("probability").GetSingle())));
        Assert.Equal(expected.Tokens, Whole(result.GetProperty("tokens")));
        Assert.Equal(expected.Kept, result.GetProperty("kept").EnumerateArray().Select(Whole));
        Assert.Equal(session.MultiplyAdds(expected.Tokens), result.GetProperty("multiplyAdds").GetInt64());
        Assert.True(result.GetProperty("milliseconds").GetDouble() > 0);
        Assert.False(result.TryGetProperty("picture", out _));
    }

    [Fact]
    public async Task AFormHasAnAnswerForEachImageInItsOrder()
    {
        using var form = new MultipartFormDataContent();
        foreach (string file in Pictures) form.Add(FileContent(file), "file", "../../" + Path.GetFileName(file));
        JsonElement all = await Json(await Client.PostAsync("/v1/predict?picture=true", form));
        JsonElement[] results = [.. all.GetProperty("results").EnumerateArray()];
        Assert.Equal(Pictures.Length, results.Length);
        for (int i = 0; i < results.Length; i++)
        {
            JsonElement alone = await Json(await Client.PostAsync("/v1/predict", FileContent(Pictures[i], type: null)));
            Assert.Equal(Said(alone), Said(results[i]));
            Assert.StartsWith("data:image/png;base64,iVBOR", results[i].GetProperty("picture").GetString());
        }
    }

    [Fact]
    public async Task AFormOfMoreImagesThanMayWaitIsAnswered()
    {
        var settings = new ServerSettings { Models = [Agents], Port = 0, Queue = 1, Batch = 1 };
        (Service service, HttpClient client) = await Start(settings);
        await using (service)
        using (client)
        {
            const int Count = 24;
            using var form = new MultipartFormDataContent();
            for (int i = 0; i < Count; i++) form.Add(FileContent(Pictures[i % Pictures.Length]), "file");
            JsonElement all = await Json(await client.PostAsync("/v1/predict", form));
            JsonElement[] results = [.. all.GetProperty("results").EnumerateArray()];
            Assert.Equal(Count, results.Length);
            for (int i = Pictures.Length; i < Count; i++) Assert.Equal(Said(results[i % Pictures.Length]), Said(results[i]));
        }
    }

    /// <summary>Bit for bit: what else is asked at the same time does not show.</summary>
    [Fact]
    public async Task ManyAtOnceGetTheSameAsAlone()
    {
        (string File, string Rule)[] asked = [.. Enumerable.Range(0, 48).Select(i =>
            (Pictures[i % 4], (i / 4 % 3) switch { 0 => "", 1 => $"?threshold=0.{1 + i % 5}", _ => "?prune=false" }))];
        string[] alone = new string[asked.Length];
        for (int i = 0; i < asked.Length; i++) alone[i] = await Ask(asked[i]);
        Assert.Equal(alone, await Task.WhenAll(asked.Select(a => Task.Run(() => Ask(a)))));

        async Task<string> Ask((string File, string Rule) a) =>
            Said(await Json(await Client.PostAsync("/v1/predict" + a.Rule, FileContent(a.File))));
    }

    [Fact]
    public void ABatchGivesTheBitsOfItsImagesAlone()
    {
        using Session session = Session.Open(Agents);
        var predictor = new Predictor(session);
        int values = predictor.InputValues, count = 11;
        float[] inputs = new float[count * values];
        for (int i = 0; i < count; i++) predictor.Prepare(ImageFile.Read(Pictures[i % 4]), inputs.AsSpan(i * values, values));
        for (int i = 0; i < inputs.Length; i++) inputs[i] += i % 97 / 500f;
        Prediction[] together = predictor.Run(inputs, count, Pruning.Threshold(0.4f));
        for (int i = 0; i < count; i++)
        {
            Prediction alone = predictor.Run(inputs.AsSpan(i * values, values), 1, Pruning.Threshold(0.4f))[0];
            Assert.Equal(alone.Probabilities, together[i].Probabilities);
            Assert.Equal(alone.Kept, together[i].Kept);
        }
    }

    [Fact]
    public async Task ClipGivesFeaturesOfImagesAndTexts()
    {
        using ClipModel clip = ClipModel.Open(served.Clip, new ClipOptions { Vocabulary = served.Vocabulary });
        float[][] image = [ClipModel.Normalised(clip.EncodeImage(ImageFile.Read(Repository.Picture()))[0])];
        JsonElement pictures = await Json(await Client.PostAsync("/v1/embed?model=clip", FileContent(Repository.Picture())));
        Assert.Equal(image, Vectors(pictures));
        JsonElement texts = await Json(await Client.PostAsync("/v1/embed?model=clip",
            Bytes("""{"texts":["a cat","a dog and a pen"]}"""u8.ToArray(), "application/json")));
        float[][] expected = [.. clip.EncodeText("a cat", "a dog and a pen").Select(ClipModel.Normalised)];
        Assert.Equal(expected, Vectors(texts));
        JsonElement[] models = [.. (await Json(await Client.GetAsync("/v1/models"))).EnumerateArray()];
        Assert.Equal([(10, false), (10, false), (0, true)],
            models.Select(m => (m.GetProperty("classes").GetInt32(), m.GetProperty("texts").GetBoolean())));
        using Session session = Session.Open(Agents);
        Assert.Equal($"threshold {models[0].GetProperty("threshold").GetSingle():0.###}", session.Pruning.ToString());
    }

    [Fact]
    public async Task ATextThatIsTooLongIsCutWhereThatIsAskedFor()
    {
        string text = string.Join(' ', Enumerable.Repeat("a cat", ClipGolden.Context));
        byte[] body = Encoding.UTF8.GetBytes($$"""{"texts":["a cat","{{text}}"]}""");
        string line = await Refused(await Client.PostAsync("/v1/embed?model=clip", Bytes(body, "application/json")), 400);
        Assert.Contains("is too long: ", line);
        Assert.Contains($"the model reads {ClipGolden.Context};", line);
        JsonElement cut = await Json(await Client.PostAsync("/v1/embed?model=clip&truncate=true", Bytes(body, "application/json")));
        using ClipModel clip = ClipModel.Open(served.Clip, new ClipOptions { Vocabulary = served.Vocabulary });
        float[][] expected = [.. clip.EncodeText(["a cat", text], truncate: true).Select(ClipModel.Normalised)];
        Assert.Equal(expected, Vectors(cut));
    }

    private static float[][] Vectors(JsonElement answer) =>
        [.. answer.GetProperty("embeddings").EnumerateArray().Select(v => v.EnumerateArray().Select(x => x.GetSingle()).ToArray())];

    private static int[] Whole(JsonElement list) => [.. list.EnumerateArray().Select(x => x.GetInt32())];

    /// <summary>All of a result but its time.</summary>
    private static string Said(JsonElement answer)
    {
        JsonElement result = answer.TryGetProperty("results", out JsonElement results) ? results[0] : answer;
        string[] parts = ["classes", "tokens", "kept", "multiplyAdds"];
        return string.Join('\n', parts.Select(p => result.GetProperty(p).GetRawText()));
    }
}
