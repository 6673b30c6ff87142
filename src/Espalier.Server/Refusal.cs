using Microsoft.AspNetCore.WebUtilities;

namespace Espalier.Server;

/// <summary>A request that gets no answer but one line on why.</summary>
internal sealed class Refusal(int status, string line) : Exception(line)
{
    public int Status => status;

    public static Refusal Busy() =>
        new(StatusCodes.Status429TooManyRequests, "too many images are waiting; ask again in a second");
}

/// <summary>An error as RFC 7807 has it.</summary>
internal sealed record Problem(string Type, string Title, int Status, string Detail)
{
    private const string Media = "application/problem+json";

    /// <summary>Writes it, unless an answer has begun.</summary>
    public static async Task Write(HttpContext context, int status, string detail)
    {
        if (context.Response.HasStarted) return;
        context.Response.StatusCode = status;
        if (status is StatusCodes.Status429TooManyRequests or StatusCodes.Status503ServiceUnavailable)
            context.Response.Headers.RetryAfter = "1";
        var problem = new Problem("about:blank", ReasonPhrases.GetReasonPhrase(status), status, OneLine(detail));
        await context.Response.WriteAsJsonAsync(problem, AnswerJson.Default.Problem, Media);
    }

    public static string OneLine(string text) => string.Join(' ', text.Split('\n', '\r').Where(l => l.Length > 0));
}
