using Espalier.Coverage;

return args switch
{
    ["scoreboard", var data, var page] => Scoreboard.Run(data, page),
    ["network", var name, var folder, var page] => Networks.Run(name, folder, page),
    ["import", var file] => Import.Run(file),
    ["agents", var trained, var exported, var threshold] => Agents.Run(trained, exported, threshold),
    ["features", var file, var seen, var held, var page] => Features.Run(file, seen, held, page),
    _ => Usage(),
};

static int Usage()
{
    Console.Error.WriteLine(
        "Espalier.Coverage scoreboard /usr/share/libonnx-testdata/data docs/onnx.md | network NAME FOLDER docs/coverage.md"
        + " | import FILE.onnx | agents TRAINED.safetensors EXPORTED.onnx THRESHOLD | features FILE.onnx SEEN HELD docs/recovery.md");
    return 2;
}
