using System.Text;
using Espalier.Reporting;

namespace Espalier.Server;

/// <summary>The page: drawn by its script from what the interface answers, in the look of the reports.</summary>
internal static class Page
{
    private const string Prefix = "Espalier.Server.", Allowed = "; connect-src 'self'";

    public static byte[] Document() =>
        Encoding.UTF8.GetBytes(HtmlPage.Document("Espalier", Text("page.css"), Text("page.js"), Allowed, Body));

    public static byte[] Resource(string name)
    {
        using Stream stream = typeof(Page).Assembly.GetManifestResourceStream(Prefix + name)
            ?? throw new InvalidOperationException($"the resource {name} is not in the assembly");
        var bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return bytes;
    }

    private static string Text(string name) => Encoding.UTF8.GetString(Resource(name));

    private static void Body(Markup page)
    {
        HtmlPage.Header(page, "What does it see?", "Pictures go to the models of this service and nowhere else.");
        page.Add($"<main>");
        HtmlPage.Section(page, "Pictures", "PNG, JPEG, BMP, GIF or WebP. Drop them anywhere on the page.", content => content
            .Add($"<label class=\"drop\">")
            // Until the script knows which models there are.
            .Add($"<input id=\"files\" type=\"file\" accept=\"image/*\" multiple=\"multiple\" disabled=\"disabled\"/>")
            .Add($"<span><b>Choose pictures</b> or drop them here</span></label>")
            .Add($"<p id=\"state\" class=\"note\" role=\"status\"></p>"));
        page.Add($"<div id=\"agents\" hidden=\"hidden\">");
        HtmlPage.Section(page, "Tokens", "Patches that the model finds worthless are dropped, layer after layer: they are "
            + "veiled, and cost nothing any more.", Controls);
        page.Add($"</div>");
        HtmlPage.Section(page, "Answers", "Times are measured for each request, by this machine.", content => content
            .Add($"<div id=\"answers\" class=\"answers\"></div>"));
        page.Add($"</main><footer><p id=\"models\"></p><p><a href=\"openapi.json\">OpenAPI document</a>, ")
            .Add($"<a href=\"metrics\">metrics</a></p></footer>");
    }

    private static void Controls(Markup page) => page.Add($"<div class=\"controls\">")
        .Add($"<label><input id=\"prune\" type=\"checkbox\" role=\"switch\" checked=\"checked\"/> Pruned</label>")
        .Add($"<label>Rule <select id=\"rule\"><option value=\"own\" selected=\"selected\">the model's own</option>")
        .Add($"<option value=\"threshold\">threshold</option>")
        .Add($"<option value=\"keep\">share to keep</option></select></label>")
        .Add($"<label class=\"slide\"><span id=\"what\">Threshold</span> ")
        .Add($"<input id=\"amount\" type=\"range\" min=\"0\" max=\"1\" step=\"0.01\" value=\"0.5\"/> ")
        .Add($"<output id=\"shown\">0.50</output></label></div>");
}
