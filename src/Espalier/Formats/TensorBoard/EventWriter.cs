using System.Globalization;
using Google.Protobuf;

namespace Espalier.Formats;

/// <summary>
/// Writes scalars to a TensorBoard event file. The messages are TensorFlow's <c>Event</c> (wall_time = 1, step = 2,
/// file_version = 3, summary = 5) and <c>Summary.Value</c> (tag = 1, simple_value = 2), encoded field by field.
/// May be called from several threads.
/// </summary>
public sealed class EventWriter : IDisposable
{
    private readonly FileStream stream;
    private readonly Lock gate = new();

    /// <summary>
    /// Creates <c>events.out.tfevents.SECONDS.HOST</c> in <paramref name="folder"/>, and the folder if it is missing.
    /// </summary>
    /// <exception cref="EspalierException">The file cannot be made.</exception>
    public EventWriter(string folder)
    {
        double now = Now();
        string name = string.Create(CultureInfo.InvariantCulture, $"events.out.tfevents.{(long)now}.{Environment.MachineName}");
        try
        {
            Directory.CreateDirectory(folder);
            stream = Create(System.IO.Path.Combine(folder, name));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EspalierException($"{folder}: no event file can be made there ({e.Message.ReplaceLineEndings(" ")})", e);
        }
        Append(Encode(now, 0, output =>
        {
            output.WriteTag(3, WireFormat.WireType.LengthDelimited);
            output.WriteString("brain.Event:2");
        }));
        Flush();
    }

    /// <summary>The file.</summary>
    public string Path => stream.Name;

    /// <summary>Adds one point of the curve <paramref name="tag"/>.</summary>
    /// <param name="tag">Its name; slashes group curves.</param>
    /// <param name="value">NaN and infinities are kept.</param>
    /// <param name="step">Position on the horizontal axis.</param>
    /// <param name="wallTime">Seconds since 1970; now, if not given.</param>
    /// <exception cref="EspalierException">The disk is full.</exception>
    public void AddScalar(string tag, float value, long step, double? wallTime = null)
    {
        int valueLength = 1 + CodedOutputStream.ComputeStringSize(tag) + 1 + sizeof(float);
        int summaryLength = 1 + CodedOutputStream.ComputeLengthSize(valueLength) + valueLength;
        Append(Encode(wallTime ?? Now(), step, output =>
        {
            output.WriteTag(5, WireFormat.WireType.LengthDelimited);    // Event.summary
            output.WriteLength(summaryLength);
            output.WriteTag(1, WireFormat.WireType.LengthDelimited);    // Summary.value
            output.WriteLength(valueLength);
            output.WriteTag(1, WireFormat.WireType.LengthDelimited);    // Value.tag
            output.WriteString(tag);
            output.WriteTag(2, WireFormat.WireType.Fixed32);            // Value.simple_value
            output.WriteFloat(value);
        }));
    }

    /// <summary>Makes what was added visible to readers.</summary>
    /// <exception cref="EspalierException">The disk is full.</exception>
    public void Flush()
    {
        lock (gate) Guarded(stream.Flush);
    }

    /// <summary>To the disk, before what was added takes the place of other files.</summary>
    internal void FlushToDisk()
    {
        lock (gate) Guarded(() => stream.Flush(flushToDisk: true));
    }

    public void Dispose()
    {
        lock (gate) Guarded(stream.Dispose);
    }

    private static double Now() => (DateTime.UtcNow - DateTime.UnixEpoch).TotalSeconds;

    /// <summary>A second writer in the same second gets a number at the end.</summary>
    private static FileStream Create(string path)
    {
        for (int number = 0; ; number++)
        {
            string numbered = number == 0 ? path : $"{path}.{number}";
            if (File.Exists(numbered)) continue;
            try
            {
                return new FileStream(numbered, FileMode.CreateNew, FileAccess.Write, FileShare.Read, 1 << 14);
            }
            catch (IOException) when (File.Exists(numbered))
            {
                // Another process was faster.
            }
        }
    }

    private static byte[] Encode(double wallTime, long step, Action<CodedOutputStream> content)
    {
        using var buffer = new MemoryStream();
        using (var output = new CodedOutputStream(buffer, leaveOpen: true))
        {
            output.WriteTag(1, WireFormat.WireType.Fixed64);
            output.WriteDouble(wallTime);
            output.WriteTag(2, WireFormat.WireType.Varint);
            output.WriteInt64(step);
            content(output);
        }
        return buffer.ToArray();
    }

    private void Append(byte[] record)
    {
        lock (gate) Guarded(() => RecordFraming.Write(stream, record));
    }

    private void Guarded(Action write)
    {
        try
        {
            write();
        }
        catch (IOException e)
        {
            throw new EspalierException($"{Path}: could not be written ({e.Message.ReplaceLineEndings(" ")})", e);
        }
    }
}
