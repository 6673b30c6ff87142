using System.Globalization;
using Microsoft.Extensions.Primitives;

namespace Espalier.Server;

/// <summary>What a request's address says by its parameters, each given once at most.</summary>
internal sealed class Parameters
{
    private readonly IQueryCollection query;

    /// <param name="names">Those that there are.</param>
    /// <exception cref="Refusal">One is unknown, or given twice.</exception>
    public Parameters(IQueryCollection query, IReadOnlyList<string> names)
    {
        this.query = query;
        foreach ((string name, StringValues values) in query)
        {
            if (!names.Contains(name))
                throw Wrong($"there is no parameter '{name}'{Near.Hint(name, names)}; there are {string.Join(", ", names)}");
            if (values.Count > 1) throw Wrong($"{name} is given {values.Count} times");
        }
    }

    /// <summary>The model that is named, else the first.</summary>
    /// <exception cref="Refusal">It is not served.</exception>
    public ServedModel Model(IReadOnlyList<ServedModel> models) => query["model"] is not [{ } wanted] ? models[0]
        : models.FirstOrDefault(m => m.Name == wanted) ?? throw new Refusal(StatusCodes.Status404NotFound,
            $"no model '{wanted}' is served; there are {string.Join(", ", models.Select(m => m.Name))}");

    /// <exception cref="Refusal">It is none from 1 to <paramref name="most"/>.</exception>
    public int? Whole(string name, int most)
    {
        if (query[name] is not [{ } text]) return null;
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value >= 1 && value <= most
            ? value : throw Wrong($"{name} is a whole number from 1 to {most}");
    }

    /// <exception cref="Refusal">It is none from 0 to 1.</exception>
    public double? Number(string name)
    {
        if (query[name] is not [{ } text]) return null;
        return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) && value is >= 0 and <= 1
            ? value : throw Wrong($"{name} is a number from 0 to 1");
    }

    /// <exception cref="Refusal">It is neither true nor false.</exception>
    public bool? Flag(string name) => query[name] is not [{ } text] ? null : text switch
    {
        "true" => true,
        "false" => false,
        _ => throw Wrong($"{name} is true or false"),
    };

    public static Refusal Wrong(string line) => new(StatusCodes.Status400BadRequest, line);
}
