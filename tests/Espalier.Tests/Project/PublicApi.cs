using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;

namespace Espalier.Tests.Project;

/// <summary>What an assembly shows to others, a line a type and a line a member, in an order that depends on names alone. What
/// the compiler adds to records is left out.</summary>
internal static class PublicApi
{
    private const BindingFlags Declared = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance
        | BindingFlags.Static | BindingFlags.DeclaredOnly;

    private static readonly Dictionary<Type, string> Words = new()
    {
        [typeof(bool)] = "bool", [typeof(byte)] = "byte", [typeof(sbyte)] = "sbyte", [typeof(short)] = "short",
        [typeof(ushort)] = "ushort", [typeof(int)] = "int", [typeof(uint)] = "uint", [typeof(long)] = "long",
        [typeof(ulong)] = "ulong", [typeof(float)] = "float", [typeof(double)] = "double", [typeof(string)] = "string",
        [typeof(object)] = "object", [typeof(nint)] = "nint", [typeof(void)] = "void",
    };

    public static IEnumerable<string> Lines(Assembly assembly) => assembly.GetExportedTypes()
        .OrderBy(t => t.FullName, StringComparer.Ordinal)
        .SelectMany(t => (string[])[$"{Kind(t)} {Outer(t)}{Name(t)}{Bases(t)}", .. Members(t).Order(StringComparer.Ordinal)]);

    private static string Outer(Type t) => t.DeclaringType is { } outer ? $"{Outer(outer)}{Name(outer)}." : $"{t.Namespace}.";

    private static string Kind(Type t) => t.IsEnum ? "enum" : t.IsInterface ? "interface"
        : t.IsSubclassOf(typeof(Delegate)) ? "delegate" : t.IsValueType ? "struct"
        : t is { IsAbstract: true, IsSealed: true } ? "static class"
        : (t.IsAbstract ? "abstract " : t.IsSealed ? "sealed " : "") + (t.GetMethod("<Clone>$") is null ? "class" : "record");

    private static string Bases(Type t)
    {
        if (t.IsEnum) return "";
        IEnumerable<Type> inherited = t.BaseType?.GetInterfaces() ?? [];
        bool derived = t is { IsClass: true, BaseType: { } b } && b != typeof(object) && b != typeof(MulticastDelegate);
        string[] bases = [.. derived ? (string[])[Name(t.BaseType!)] : [], .. t.GetInterfaces().Except(inherited)
            .Where(i => i.IsVisible && i.Name != "IEquatable`1").Select(Name).Order(StringComparer.Ordinal)];
        return bases.Length == 0 ? "" : $" : {string.Join(", ", bases)}";
    }

    private static IEnumerable<string> Members(Type t)
    {
        if (t.IsEnum) return t.GetFields(Declared).Where(f => f.IsLiteral)
            .Select(f => $"  {Convert.ToInt64(f.GetRawConstantValue(), CultureInfo.InvariantCulture),4} = {f.Name}");
        if (t.IsSubclassOf(typeof(Delegate))) return [$"  {Signature(t.GetMethod("Invoke")!)}"];
        return t.GetMembers(Declared).Where(m => m is not TypeInfo && !m.IsDefined(typeof(CompilerGeneratedAttribute)))
            .Select(Line).OfType<string>();
    }

    private static string? Line(MemberInfo member) => member switch
    {
        FieldInfo f when IsSeen(f.Attributes & FieldAttributes.FieldAccessMask) =>
            $"  {(f.IsLiteral ? "const " : f.IsStatic ? "static " : "")}{f.Name}: {Name(f.FieldType)}",
        PropertyInfo p when Seen(p.GetMethod) || Seen(p.SetMethod) => $"  {Modifiers((p.GetMethod ?? p.SetMethod)!)}{p.Name}"
            + $"{(p.GetIndexParameters() is { Length: > 0 } index ? $"[{Parameters(index)}]" : "")}: {Name(p.PropertyType)}"
            + $"{Mark(new NullabilityInfoContext().Create(p))} {{{(Seen(p.GetMethod) ? " get" : "")}{Setter(p)} }}",
        EventInfo e when Seen(e.AddMethod) => $"  event {e.Name}: {Name(e.EventHandlerType!)}",
        ConstructorInfo { IsStatic: false } c when Seen(c) => $"  new({Parameters(c.GetParameters())})",
        MethodInfo m when Seen(m) && (!m.IsSpecialName || m.Name.StartsWith("op_", StringComparison.Ordinal)) =>
            $"  {Modifiers(m)}{Signature(m)}",
        _ => null,
    };

    private static bool Seen(MethodBase? m) => m is { IsPublic: true } or { IsFamily: true } or { IsFamilyOrAssembly: true };

    private static bool IsSeen(FieldAttributes access) =>
        access is FieldAttributes.Public or FieldAttributes.Family or FieldAttributes.FamORAssem;

    private static string Setter(PropertyInfo p) => !Seen(p.SetMethod) ? ""
        : p.SetMethod!.ReturnParameter.GetRequiredCustomModifiers().Contains(typeof(IsExternalInit)) ? " init" : " set";

    private static string Modifiers(MethodInfo m) => (m.IsPublic ? "" : "protected ") + (m.IsStatic ? "static " : "")
        + (m.IsAbstract ? "abstract " : m is not { IsVirtual: true, IsFinal: false } ? ""
            : m.GetBaseDefinition() == m ? "virtual " : "override ");

    private static string Signature(MethodInfo m) => m.Name
        + (m.IsGenericMethod ? $"<{string.Join(", ", m.GetGenericArguments().Select(Name))}>" : "")
        + $"({Parameters(m.GetParameters())}): {Name(m.ReturnType)}"
        + Mark(new NullabilityInfoContext().Create(m.ReturnParameter));

    private static string Parameters(ParameterInfo[] all) => string.Join(", ", all.Select(p => Way(p) + Name(p.ParameterType)
        + $"{Mark(new NullabilityInfoContext().Create(p))} {p.Name}"
        + (p.HasDefaultValue ? $" = {Default(p.DefaultValue)}" : "")));

    private static string Way(ParameterInfo p) => p.IsDefined(typeof(ParamArrayAttribute)) ? "params "
        : p.IsOut ? "out " : p.IsIn ? "in " : p.ParameterType.IsByRef ? "ref " : "";

    private static string Default(object? value) =>
        value is null ? "null" : Convert.ToString(value, CultureInfo.InvariantCulture)!;

    private static string Mark(NullabilityInfo info) => !info.Type.IsValueType
        && (info.ReadState == NullabilityState.Nullable || info.WriteState == NullabilityState.Nullable) ? "?" : "";

    private static string Name(Type t)
    {
        if (t.IsByRef) return Name(t.GetElementType()!);
        if (t.IsPointer) return Name(t.GetElementType()!) + "*";
        if (t.IsArray) return Name(t.GetElementType()!) + "[]";
        if (Nullable.GetUnderlyingType(t) is { } value) return Name(value) + "?";
        if (Words.TryGetValue(t, out string? word)) return word;
        string name = t.Name.Split('`')[0];
        // A nested type repeats the parameters of the one around it.
        int own = t.GetGenericArguments().Length - (t.DeclaringType?.GetGenericArguments().Length ?? 0);
        return t.IsGenericParameter || own <= 0 ? name
            : $"{name}<{string.Join(", ", t.GetGenericArguments()[^own..].Select(Name))}>";
    }
}
