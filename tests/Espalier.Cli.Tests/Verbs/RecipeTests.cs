using System.Text.Json;

namespace Espalier.Cli.Tests.Verbs;

public sealed class RecipeTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>The file that a run leaves makes the same weights again, and the command line counts more than it.</summary>
    [Fact]
    public void A_run_can_be_repeated_from_the_recipe_that_it_wrote()
    {
        Tool.Run("train", "--data", "fashion-mnist-sample", "--model-type", "vit-tiny-28", "--method", "none", "--epochs", "0.02",
            "--train-batch-size", "10", "--optimizer", "adamw", "--learning-rate", "0.002", "--no-augment", "--eval-limit", "20",
            "--threads", "1", "--name", "first", "--output-dir", folder.Path).MustSucceed();
        string recipe = folder.File("first.recipe.json");
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(recipe));
        Assert.Equal("train", json.RootElement.GetProperty("verb").GetString());
        Assert.Equal(0.002, json.RootElement.GetProperty("learning-rate").GetDouble());
        Assert.True(json.RootElement.GetProperty("no-augment").GetBoolean());
        Assert.False(json.RootElement.TryGetProperty("eval-every", out _));

        // 1,900 of the sample's 2,000 images are learnt from: 190 steps an epoch.
        Outcome again = Tool.Run("train", "--recipe", recipe, "--name", "second").MustSucceed();
        Assert.Contains("step 4 of 4", again.Out);
        Assert.Equal(File.ReadAllBytes(folder.File("first.safetensors")), File.ReadAllBytes(folder.File("second.safetensors")));
        Outcome shorter = Tool.Run("train", "--recipe", recipe, "--num-steps", "2", "--name", "third").MustSucceed();
        Assert.Contains("step 2 of 2", shorter.Out);
    }

    [Fact]
    public void Compress_writes_and_reads_one_with_its_method()
    {
        string small = folder.File("small.safetensors");
        Tool.Run("compress", "l1", "--model-type", "cifar-vgg11", "--width", "0.125", "--img-size", "16", "--data",
            "fashion-mnist-sample", "--pretrain-steps", "2", "--batch-size", "16", "--target-flops", "0.6", "--threads", "1",
            "--output", small).MustSucceed();
        byte[] first = File.ReadAllBytes(small);
        File.Delete(small);
        Tool.Run("compress", "--recipe", folder.File("small.recipe.json")).MustSucceed();
        Assert.Equal(first, File.ReadAllBytes(small));
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(folder.File("small.recipe.json")));
        Assert.Equal("l1", json.RootElement.GetProperty("method").GetString());
        Tool.Run("compress", "l2", "--recipe", folder.File("small.recipe.json"), "--output", folder.File("l2.safetensors"))
            .MustSucceed();
        Assert.Contains("\"l2\"", File.ReadAllText(folder.File("l2.recipe.json")));
    }

    [Theory]
    [InlineData("""{"num-stepps":3}""", "'train' has no option 'num-stepps' (do you mean 'num-steps'?)")]
    [InlineData("""{"verb":"compress"}""", "is a recipe of 'compress', not of 'train'")]
    [InlineData("""{"num-steps":[3]}""", "num-steps is a text, a number, true or false")]
    [InlineData("""{"num-steps":"many"}""", "--num-steps must be a whole number")]
    [InlineData("""{"num-steps":3,"num-steps":4}""", "not a recipe")]
    [InlineData("[]", "a recipe is a JSON object")]
    [InlineData("{", "not a recipe")]
    [InlineData("""{"num-steps":3,"epochs":4}""", "--num-steps and --epochs")]
    public void What_is_wrong_in_it_is_one_line(string text, string expected)
    {
        File.WriteAllText(folder.File("bad.json"), text);
        Assert.Contains(expected, Tool.Run("train", "--recipe", folder.File("bad.json")).MustFail(2));
    }

    /// <summary>Each says the same as the line of JSON beside it.</summary>
    [Theory]
    [InlineData("# comment\nverb: train\nlearning-rate: 1e-3 # as usual\nname: \"12\"\n", """{"verb":"train","learning-rate":1e-3,"name":"12"}""")]
    [InlineData("no-augment: true\nresume: False\nwidth: ~\nseed:\n", """{"no-augment":true,"resume":false,"width":null,"seed":null}""")]
    [InlineData("{data: folder, 'schedule': cosine}", """{"data":"folder","schedule":"cosine"}""")]
    [InlineData("---\nname: .5\nlr: 010\nx: yes\n...\n", """{"name":".5","lr":"010","x":"yes"}""")]
    public void YAML_says_the_same(string yaml, string json)
    {
        Assert.Equal(json, System.Text.Encoding.UTF8.GetString(Options.YamlRecipe.ToJson(System.Text.Encoding.UTF8.GetBytes(yaml), "a.yaml")));
        File.WriteAllText(folder.File("a.yml"), yaml);
        Assert.Equal(json.Count(c => c == ':'), Options.RecipeFile.Read(folder.File("a.yml")).Length);
    }

    [Theory]
    [InlineData("num-stepps: 3", "'train' has no option 'num-stepps' (do you mean 'num-steps'?)")]
    [InlineData("verb: compress", "is a recipe of 'compress', not of 'train'")]
    [InlineData("num-steps: many", "--num-steps must be a whole number")]
    [InlineData("num-steps: 3\nnum-steps: 4", "not a recipe")]
    [InlineData("num-steps: [3]", "not a recipe in line 1: the value of a recipe's option is a text, a number, true or false")]
    [InlineData("num-steps: {a: 3}", "is a text, a number, true or false")]
    [InlineData("? [a]\n: 3", "a name is a text")]
    [InlineData("- num-steps", "no list of names with values")]
    [InlineData("", "no list of names with values")]
    [InlineData("num-steps: 3\n---\nnum-steps: 3", "several documents")]
    [InlineData("num-steps: &a 3", "anchors and tags")]
    [InlineData("a: &a 3\nnum-steps: *a", "anchors and tags")]
    [InlineData("num-steps: !!int 3", "anchors and tags")]
    [InlineData("num-steps: 'three", "not a recipe")]
    public void What_is_wrong_in_YAML_is_one_line(string text, string expected)
    {
        File.WriteAllText(folder.File("bad.yaml"), text);
        string said = Tool.Run("train", "--recipe", folder.File("bad.yaml")).MustFail(2);
        Assert.Contains(expected, said);
        Assert.DoesNotContain('\n', said.Trim());
    }

    /// <summary>Nothing is nested, so that nothing grows; nothing longer than a recipe is read.</summary>
    [Fact]
    public void Long_and_deep_YAML_is_refused_at_once()
    {
        File.WriteAllText(folder.File("deep.yaml"), "a: " + new string('[', 500_000));
        Assert.Contains("is a text", Tool.Run("train", "--recipe", folder.File("deep.yaml")).MustFail(2));
        File.WriteAllText(folder.File("long.yaml"), "a: " + new string('x', 2 << 20));
        Assert.Contains("is longer than", Tool.Run("train", "--recipe", folder.File("long.yaml")).MustFail(2));
    }

    [Fact]
    public void A_recipe_that_is_not_there_is_named() =>
        Assert.Contains("none.json", Tool.Run("compress", "--recipe", folder.File("none.json")).MustFail(2));
}
