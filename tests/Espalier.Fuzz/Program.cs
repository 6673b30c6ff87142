using System.Globalization;
using Espalier.Fuzz;

// dotnet run -c Release --project tests/Espalier.Fuzz -- [MUTANTS, default 100000] [READER]   damaged files for every reader
// dotnet run -c Release --project tests/Espalier.Fuzz -- faults [TIMES, default 100]           kills, full disks, resumes, leaks
CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
string[] numbers = args.Where(a => int.TryParse(a, out _)).ToArray();
bool faults = args.Contains("faults");
int count = numbers.Length > 0 ? int.Parse(numbers[0]) : faults ? 100 : 100_000;
string? only = args.FirstOrDefault(a => a != "faults" && !int.TryParse(a, out _));
string folder = Directory.CreateTempSubdirectory("espalier-fuzz-").FullName;
int passed = 0, failed = 0;
try
{
    if (faults)
    {
        Console.WriteLine("| fault | times | what came of it |\n| --- | ---: | --- |");
        foreach (var (name, run) in Faults.All(folder)) Report(name, run(count));
    }
    else
    {
        Console.WriteLine("| reader | mutants | refused | still read | slowest, ms | most memory, MB |\n| --- | ---: | ---: | ---: | ---: | ---: |");
        foreach (Reader reader in Readers.All(folder).Where(r => only is null || r.Name.Equals(only, StringComparison.OrdinalIgnoreCase)))
        {
            var run = new FuzzRun(reader, count);
            run.Run();
            Console.WriteLine($"| {reader.Name} | {run.Refused + run.Read:#,##0} | {run.Refused:#,##0} | {run.Read:#,##0} | "
                + $"{run.Slowest * 1000:0} | {run.Largest / 1048576.0:0.0} |");
            foreach (string fault in run.Faults) Console.Error.WriteLine(fault);
            if (run.Faults.Count == 0) passed++;
            else failed++;
        }
    }
}
finally
{
    Directory.Delete(folder, recursive: true);
}
Console.WriteLine($"\n{passed} passed, {failed} failed");
return failed == 0 && passed > 0 ? 0 : 1;

void Report(string name, (int Times, string Outcome, bool Good) result)
{
    Console.WriteLine($"| {name} | {result.Times:#,##0} | {result.Outcome} |");
    if (result.Good) passed++;
    else failed++;
}
