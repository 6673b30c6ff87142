using System.Numerics;

namespace Espalier.Formats;

/// <summary>
/// A small machine for Python pickles of protocols 2 to 5 (the opcodes are described in CPython's pickletools) that builds
/// plain values only: <see cref="PickleDictionary"/>, <c>List&lt;object?&gt;</c> (lists and sets), <c>object?[]</c>
/// (tuples), string, byte[] (bytes, and Python 2's str), long, <see cref="BigInteger"/>, double, bool, null, and what the
/// allowed globals make. It never runs anything named in the file, and its memory, depth and steps are bounded.
/// </summary>
public sealed class PickleReader
{
    private const int MaxOperations = 20_000_000, MaxContainers = 1_000_000, MaxStack = 2_000_000, MaxMemo = 4_000_000;
    private const int MaxMarks = 2_000, MaxIntegerBytes = 256, MemoSlack = 1_024;

    // What calls may read in all: so many times the pickle's length. A value in the memo costs two bytes to pass again.
    private const long WorkPerByte = 16, FreeWork = 1 << 20, WorkPerItem = 32;

    private readonly PickleInput input;
    private readonly PickleGlobals globals;
    private readonly List<object?> stack = [];
    private readonly List<int> marks = [];
    private readonly List<object?> memo = [];
    private int containers;
    private long work;

    private PickleReader(PickleInput input, PickleGlobals globals) => (this.input, this.globals) = (input, globals);

    /// <summary>Reads one pickle.</summary>
    /// <param name="stream">Starts with the pickle; the reader may read some bytes past its end.</param>
    /// <param name="allowed">The names that it may mention.</param>
    /// <param name="source">The file, for messages.</param>
    /// <exception cref="EspalierException">It is damaged, goes beyond a bound, or names a global that is not allowed.</exception>
    public static object? Read(Stream stream, PickleGlobals allowed, string source) => ReadGuard.Run(source, () =>
        Read(stream, allowed, stream.CanSeek ? stream.Length - stream.Position : long.MaxValue));

    internal static object? Read(Stream stream, PickleGlobals allowed, long length) => Read(stream, allowed, length, out _);

    /// <param name="read">Bytes that the pickle has.</param>
    internal static object? Read(Stream stream, PickleGlobals allowed, long length, out long read)
    {
        var input = new PickleInput(stream, length);
        object? value = new PickleReader(input, allowed).Run();
        read = input.Consumed;
        return value;
    }

    private object? Run()
    {
        for (int operations = 0; operations < MaxOperations; operations++)
        {
            byte opcode = input.ReadByte();
            if (opcode == '.')
            {
                object? result = Pop();
                return stack.Count == 0 && marks.Count == 0 ? result : throw Bad("ends with values left over");
            }
            Step(opcode);
            if (stack.Count > MaxStack) throw Bad("needs too deep a stack");
        }
        throw Bad($"has more than {MaxOperations} operations");
    }

    private void Step(byte opcode)
    {
        switch (opcode)
        {
            case 0x80:    // PROTO
                if (input.ReadByte() is var version and (< 2 or > 5)) throw Bad($"is of protocol {version}; 2 to 5 are read");
                break;
            case 0x95: input.ReadUInt64(); break;    // FRAME: only a hint for buffering
            case (byte)'(': Mark(); break;
            case (byte)'0': if (stack.Count > Fence) Pop(); else PopMark(); break;    // POP drops a mark too
            case (byte)'1': PopMark(); break;
            case (byte)'2': Push(Peek()); break;
            case (byte)'N': Push(null); break;
            case 0x88: Push(true); break;
            case 0x89: Push(false); break;
            case (byte)'J': Push((long)(int)input.ReadUInt32()); break;
            case (byte)'K': Push((long)input.ReadByte()); break;
            case (byte)'M': Push((long)input.ReadUInt16()); break;
            case 0x8a: Push(Integer(input.ReadByte())); break;
            case 0x8b: Push(Integer(input.ReadUInt32())); break;
            case (byte)'G': Push(input.ReadDouble()); break;
            case (byte)'U' or (byte)'C': Push(input.ReadBytes(input.ReadByte())); break;
            case (byte)'T' or (byte)'B': Push(input.ReadBytes(input.ReadUInt32())); break;
            case 0x8e or 0x96: Push(input.ReadBytes(input.ReadUInt64())); break;    // BINBYTES8, BYTEARRAY8
            case 0x8c: Push(input.ReadUtf8(input.ReadByte())); break;
            case (byte)'X': Push(input.ReadUtf8(input.ReadUInt32())); break;
            case 0x8d: Push(input.ReadUtf8(input.ReadUInt64())); break;
            case (byte)')': Push(Array.Empty<object?>()); break;
            case 0x85: Push(PopTuple(1)); break;
            case 0x86: Push(PopTuple(2)); break;
            case 0x87: Push(PopTuple(3)); break;
            case (byte)'t': Push(Contain(PopMark())); break;
            case (byte)']' or 0x8f: Push(Contain(new List<object?>())); break;    // EMPTY_LIST, EMPTY_SET
            case (byte)'l' or 0x91: Push(Contain(new List<object?>(PopMark()))); break;    // LIST, FROZENSET
            case (byte)'a': Append([Pop()]); break;
            case (byte)'e' or 0x90: Append(PopMark()); break;    // APPENDS, ADDITEMS
            case (byte)'}': Push(Contain(new PickleDictionary())); break;
            case (byte)'d': SetItems(PopMark(), intoNew: true); break;
            case (byte)'s': SetItems(PopTuple(2), intoNew: false); break;
            case (byte)'u': SetItems(PopMark(), intoNew: false); break;
            case (byte)'q': Memorise(input.ReadByte()); break;
            case (byte)'r': Memorise(input.ReadUInt32()); break;
            case 0x94: Memorise((uint)memo.Count); break;
            case (byte)'h': Push(Recall(input.ReadByte())); break;
            case (byte)'j': Push(Recall(input.ReadUInt32())); break;
            case (byte)'c': PushGlobal(input.ReadLine(), input.ReadLine()); break;
            case 0x93: PushGlobal(PopTuple(2)); break;    // STACK_GLOBAL
            case (byte)'R' or 0x81: Call(PopTuple(2)); break;    // REDUCE, NEWOBJ: an allowed class is its own constructor
            case 0x92: Call(PopTuple(3)[..2]); break;    // NEWOBJ_EX: arguments by name are of classes that are only kept
            case (byte)'b': Build(Pop()); break;
            case (byte)'Q':
                if (globals.PersistentLoad is not { } load) throw Bad("has a persistent id, which only PyTorch archives have");
                object? id = Pop();
                Charge(id, 0);
                Push(load(id));
                break;
            default: throw Bad($"has the opcode 0x{opcode:x2}, which is not one of those read");
        }
    }

    private int Fence => marks.Count == 0 ? 0 : marks[^1];

    private void Push(object? value) => stack.Add(value);

    private object? Pop()
    {
        object? value = Peek();
        stack.RemoveAt(stack.Count - 1);
        return value;
    }

    private object? Peek() => stack.Count > Fence ? stack[^1] : throw Bad("takes a value from an empty stack");

    private object?[] PopTuple(int count)
    {
        if (stack.Count - Fence < count) throw Bad("takes a value from an empty stack");
        return Contain(PopRange(stack.Count - count));
    }

    private object?[] PopRange(int from)
    {
        object?[] values = [.. stack[from..]];
        stack.RemoveRange(from, stack.Count - from);
        return values;
    }

    private void Mark()
    {
        if (marks.Count == MaxMarks) throw Bad("is nested too deeply");
        marks.Add(stack.Count);
    }

    private object?[] PopMark()
    {
        if (marks.Count == 0) throw Bad("closes a group that it did not open");
        int from = marks[^1];
        marks.RemoveAt(marks.Count - 1);
        return PopRange(from);
    }

    private T Contain<T>(T container)
    {
        if (++containers > MaxContainers) throw Bad($"has more than {MaxContainers} lists, tuples and dictionaries");
        return container;
    }

    private void Append(object?[] values)
    {
        if (Peek() is PickleObject) return;    // of a class derived from a list, which is only kept
        if (Peek() is not List<object?> list) throw Bad("appends to something that is not a list");
        list.AddRange(values);
    }

    private void SetItems(object?[] pairs, bool intoNew)
    {
        if (intoNew) Push(Contain(new PickleDictionary()));
        if (Peek() is PickleObject) return;
        if (Peek() is not PickleDictionary dictionary) throw Bad("sets an item of something that is not a dictionary");
        if (pairs.Length % 2 != 0) throw Bad("has a key without a value");
        for (int i = 0; i < pairs.Length; i += 2) dictionary.Set(pairs[i], pairs[i + 1]);
    }

    private void Memorise(uint index)
    {
        // Writers count up; a far index could only serve to make the memo large.
        if (index > memo.Count + MemoSlack || index >= MaxMemo) throw Bad("has a memo index out of order");
        while (memo.Count <= index) memo.Add(Missing);
        memo[(int)index] = Peek();
    }

    private object? Recall(uint index)
    {
        object? value = index < memo.Count ? memo[(int)index] : Missing;
        return value != Missing ? value : throw Bad("recalls a value that it did not store");
    }

    private static readonly object Missing = new();

    private void PushGlobal(object?[] names)
    {
        if (names is not [string module, string name]) throw Bad("names a global by something that is not text");
        Charge(names, 0);
        PushGlobal(module, name);
    }

    private void PushGlobal(string module, string name)
    {
        // Python 2's name of the module; the refusal should name it as it is known today.
        if (module == "__builtin__") module = "builtins";
        if (!globals.TryGet($"{module}.{name}", out object? value))
        {
            throw new InvalidDataException("refusing the pickle, nothing in it was executed: it names "
                + $"{ReadGuard.Quote($"{module}.{name}")}, which is no plain tensor or container; "
                + "for PyTorch, save model.state_dict() alone");
        }
        Push(value);
    }

    private void Call(object?[] call)
    {
        if (call is not [PickleGlobal function, object?[] arguments])
            throw Bad("calls something that is not a function with a tuple");
        Charge(arguments, 0);
        Push(function.Rebuild(arguments));
    }

    /// <summary>State of an ordered dictionary is its attributes (PyTorch's <c>_metadata</c>), of no use here.</summary>
    private void Build(object? state)
    {
        Charge(state, 0);
        switch (Peek())
        {
            case IPickleState target: target.SetState(state); break;
            case PickleDictionary: break;
            default: throw Bad("gives a state to a value that takes none");
        }
    }

    /// <summary>Counts what a call is given to read, before it reads it.</summary>
    private void Charge(object? value, int depth)
    {
        work += value switch
        {
            string text => text.Length,
            byte[] bytes => bytes.Length,
            List<object?> list => list.Count * WorkPerItem,
            PickleDictionary dictionary => dictionary.Count * WorkPerItem,
            _ => 1,
        };
        if (work > FreeWork + WorkPerByte * input.Consumed) throw Bad("passes the same large value to many calls; refused");
        if (value is not object?[] tuple || depth == 3) return;
        foreach (object? item in tuple) Charge(item, depth + 1);
    }

    private object Integer(uint length)
    {
        if (length > MaxIntegerBytes) throw Bad($"has an integer of {length} bytes");
        var value = new BigInteger(input.ReadBytes(length));
        return value >= long.MinValue && value <= long.MaxValue ? (object)(long)value : value;
    }

    private static InvalidDataException Bad(string what) => new($"the pickle {what}");
}
