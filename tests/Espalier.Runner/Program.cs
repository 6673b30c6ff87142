// Runs the engine's tests in this process, for systems that have a runtime but no SDK (scripts/test-arm.sh).
//     Espalier.Runner [PART OF A TEST'S NAME...]
using System.Reflection;
using Espalier.Tensors.Tests;
using Xunit;
using Xunit.Abstractions;
using Xunit.Sdk;

Assembly tests = typeof(ShapeTests).Assembly;
using var sink = new Sink();
var options = new Options();
using var framework = new XunitTestFramework(sink);
using ITestFrameworkDiscoverer discoverer = framework.GetDiscoverer(Reflector.Wrap(tests));
discoverer.Find(includeSourceInformation: false, sink, options);
sink.Wait();
ITestCase[] cases = [.. sink.Cases.Where(c =>
    args.Length == 0 || args.Any(a => c.DisplayName.Contains(a, StringComparison.Ordinal)))];
using ITestFrameworkExecutor executor = framework.GetExecutor(tests.GetName());
executor.RunTests(cases, sink, options);
sink.Wait();
Console.WriteLine($"{sink.Passed} passed, {sink.Failed} failed");
return sink.Failed > 0 || sink.Passed == 0 ? 1 : 0;

internal sealed class Sink : LongLivedMarshalByRefObject, IMessageSink, IDisposable
{
    private readonly AutoResetEvent done = new(false);

    public List<ITestCase> Cases { get; } = [];

    public int Passed { get; private set; }

    public int Failed { get; private set; }

    public void Wait() => done.WaitOne();

    public void Dispose() => done.Dispose();

    public bool OnMessage(IMessageSinkMessage message)
    {
        switch (message)
        {
            case ITestCaseDiscoveryMessage found:
                Cases.Add(found.TestCase);
                break;
            case ITestPassed:
                Passed++;
                break;
            case ITestFailed failed:
                Failed++;
                Console.WriteLine($"failed: {failed.Test.DisplayName}: {string.Join(" ", failed.Messages)}");
                Console.WriteLine(string.Join("\n", failed.StackTraces));
                break;
            case IErrorMessage error:
                Failed++;
                Console.WriteLine($"failed: {string.Join(" ", error.Messages)}");
                break;
            case IDiscoveryCompleteMessage or ITestAssemblyFinished:
                done.Set();
                break;
        }
        return true;
    }
}

/// <summary>One test after the other; all else as the framework has it.</summary>
internal sealed class Options : ITestFrameworkDiscoveryOptions, ITestFrameworkExecutionOptions
{
    public TValue GetValue<TValue>(string name) =>
        name == "xunit.execution.DisableParallelization" ? (TValue)(object)true : default!;

    public void SetValue<TValue>(string name, TValue value)
    {
    }
}
