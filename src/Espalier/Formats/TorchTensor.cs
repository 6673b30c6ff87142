namespace Espalier.Formats;

/// <summary>A run of elements in a PyTorch archive: the entry <c>data/KEY</c>. Type is null for untyped bytes.</summary>
internal sealed record TorchStorage(ElementType? Type, string Key, long Count);

/// <summary>A view of a storage; its values are not read yet.</summary>
internal sealed record TorchTensor(TorchStorage Storage, ElementType Type, long Offset, int[] Shape, long[] Strides, int Count)
{
    /// <param name="storage">What a persistent id became.</param>
    /// <param name="type">Given for untyped storages only.</param>
    public static TorchTensor Make(object? storage, object? offset, object? size, object? stride, ElementType? type = null)
    {
        if (storage is not TorchStorage s || offset is not long first
            || size is not object?[] dims || stride is not object?[] steps
            || (type ?? s.Type) is not { } elements || dims.Length != steps.Length || dims.Length > ArrayShape.MaxRank
            || !dims.All(d => d is long) || !steps.All(d => d is long and >= 0) || first < 0)
            throw new InvalidDataException("a tensor in it has a storage, size or stride of a form that is not read");
        int[] shape = ArrayShape.Check("tensor", [.. dims.Select(d => (long)d!)], out int count);
        return new TorchTensor(s, elements, first, shape, [.. steps.Select(d => (long)d!)], count);
    }
}

/// <summary>The names that PyTorch state dicts mention, and what each becomes here.</summary>
internal static class TorchGlobals
{
    private static readonly (string Storage, string Type, ElementType Element)[] Types =
    [
        ("FloatStorage", "float32", ElementType.F32), ("DoubleStorage", "float64", ElementType.F64),
        ("HalfStorage", "float16", ElementType.F16), ("BFloat16Storage", "bfloat16", ElementType.BF16),
        ("LongStorage", "int64", ElementType.I64), ("IntStorage", "int32", ElementType.I32),
        ("ShortStorage", "int16", ElementType.I16), ("CharStorage", "int8", ElementType.I8),
        ("ByteStorage", "uint8", ElementType.U8), ("BoolStorage", "bool", ElementType.Bool),
    ];

    private const string Untyped = "untyped";
    private const int MaxKeyLength = 64;

    /// <summary>Arrays and scalars of numpy beside the tensors are objects as others are, which are only kept.</summary>
    public static readonly PickleGlobals Allowed = Make().With(InertNames.IsHarmless);

    /// <summary>With the classes and lists of TorchScript.</summary>
    public static readonly PickleGlobals Scripted = Lists(Make().With(n => n.StartsWith("__torch__.", StringComparison.Ordinal)));

    private static PickleGlobals Make()
    {
        var globals = new PickleGlobals { PersistentLoad = LoadStorage };
        foreach ((string storage, string type, ElementType element) in Types)
        {
            globals.AddConstant("torch", storage, element).AddConstant("torch", type, element);
            // Before PyTorch 0.2 each had a class of tensors, too.
            string tensor = storage.Replace("Storage", "Tensor", StringComparison.Ordinal);
            globals.AddConstant("torch", tensor, element).AddConstant("torch.cuda", tensor, element);
        }
        return globals
            .AddConstant("torch", "UntypedStorage", Untyped)
            .AddConstant("torch.storage", "UntypedStorage", Untyped)
            .AddConstant("torch", "Tensor", "Tensor")
            .AddConstant("torch.nn.parameter", "Parameter", "Parameter")
            .Add("torch._utils", "_rebuild_tensor", a => Tensor(a, 4))
            .Add("torch._utils", "_rebuild_tensor_v2", a => Tensor(a, 6))
            .Add("torch._utils", "_rebuild_tensor_v3", UntypedTensor)
            .Add("torch._utils", "_rebuild_parameter", a => First(a, 3))
            .Add("torch._utils", "_rebuild_parameter_with_state", a => First(a, 4))
            .Add("torch._tensor", "_rebuild_from_type_v2", RebuildFromType)
            .Add("torch", "Size", a => First(a, 1))
            .Add("torch", "device", a => First(a, 1))
            .Add("collections", "OrderedDict", MakeDictionary)
            .Add("collections", "Counter", MakeDictionary);
    }

    private static PickleGlobals Lists(PickleGlobals globals)
    {
        foreach (string kind in new[] { "intlist", "doublelist", "boollist", "tensorlist" })
            globals.Add("torch.jit._pickle", $"build_{kind}", a => First(a, 1));
        return globals;
    }

    /// <summary>('storage', type, key, device, number of elements).</summary>
    private static TorchStorage LoadStorage(object? id)
    {
        if (id is not object?[] { Length: >= 5 } parts || NumpyPickle.Text(parts[0]) != "storage"
            || NumpyPickle.Text(parts[2]) is not { Length: <= MaxKeyLength } key || parts[4] is not (long and >= 0)
            || parts[1] is not (ElementType or Untyped))
            throw new InvalidDataException("a storage in it is of a form that is not read");
        if (parts.Length > 5 && parts[5] is not null)
            throw new InvalidDataException("a storage in it is a part of another one, which is not read; save it again");
        return new TorchStorage(parts[1] as ElementType?, key, (long)parts[4]!);
    }

    private static TorchTensor Tensor(object?[] arguments, int least)
    {
        Require(arguments, least);
        return TorchTensor.Make(arguments[0], arguments[1], arguments[2], arguments[3]);
    }

    /// <summary>(storage, offset, size, stride, requires_grad, hooks, dtype, ...).</summary>
    private static TorchTensor UntypedTensor(object?[] arguments)
    {
        Require(arguments, 7);
        if (arguments[6] is not ElementType type) throw new InvalidDataException("a tensor in it has a type that is not read");
        return TorchTensor.Make(arguments[0], arguments[1], arguments[2], arguments[3], type);
    }

    private static object? First(object?[] arguments, int least)
    {
        Require(arguments, least);
        return arguments[0];
    }

    /// <summary>(function, type, arguments, attributes): a tensor with Python attributes, which are dropped.</summary>
    private static object? RebuildFromType(object?[] arguments)
    {
        if (arguments is not [PickleGlobal function, _, object?[] inner, ..] || function.Rebuild == RebuildFromType)
            throw new InvalidDataException("a tensor in it is of a form that is not read");
        return function.Rebuild(inner);
    }

    /// <summary>Empty, from a dictionary, or from a list of pairs (Python 2).</summary>
    private static PickleDictionary MakeDictionary(object?[] arguments)
    {
        var made = new PickleDictionary();
        switch (arguments)
        {
            case []: break;
            case [PickleDictionary from]:
                foreach ((object key, object? value) in from.Items) made.Set(key, value);
                break;
            case [List<object?> pairs]:
                foreach (object? pair in pairs)
                {
                    if (pair is List<object?> { Count: 2 } list) made.Set(list[0], list[1]);
                    else if (pair is object?[] { Length: 2 } tuple) made.Set(tuple[0], tuple[1]);
                    else throw new InvalidDataException("a dictionary in it is made from something that is no pair");
                }
                break;
            default: throw new InvalidDataException("a dictionary in it is of a form that is not read");
        }
        return made;
    }

    private static void Require(object?[] arguments, int least)
    {
        if (arguments.Length < least) throw new InvalidDataException("a tensor in it is rebuilt from too few values");
    }
}
