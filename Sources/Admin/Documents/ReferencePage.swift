// The reference of the API for people: a page of HTML without a script, made from the endpoint table.

internal import Formats
internal import Gateway
internal import ProxyGPT

enum ReferencePage {
    static var html: String {
        """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <title>\(APIReference.title) API</title>
        <link rel="stylesheet" href="docs/reference.css">
        </head>
        <body>
        <header>
        <h1>\(APIReference.title) API</h1>
        <p>Version \(escaped(Product.version)). The same for programs: <a href="openapi.json">openapi.json</a> \
        (OpenAPI 3.1), <a href="llms.txt">llms.txt</a>.</p>
        </header>
        <nav aria-label="Contents">
        \(contents)
        </nav>
        <main>
        \(introduction)
        \(APIReference.nouns.map(section).joined(separator: "\n"))
        \(objects)
        </main>
        </body>
        </html>

        """
    }

    // MARK: - Contents and introduction

    private static var contents: String {
        let start = APIReference.introduction.map { (id: $0.title, text: $0.title) }
        let nouns = APIReference.nouns.map { noun in
            let endpoints = APIReference.endpoints.filter { $0.noun == noun.name }
            return "<li><a href=\"#\(noun.name)\">\(noun.title)</a>"
                + list(endpoints.map { (id: $0.name, text: $0.path) }) + "</li>\n"
        }
        return list(start, more: nouns.joined() + "<li><a href=\"#objects\">Objects</a></li>\n")
    }

    private static func list(
        _ entries: [(id: String, text: String)], more: String = ""
    ) -> String {
        if entries.isEmpty && more.isEmpty { return "" }
        return "<ul>\n"
            + entries.map { "<li><a href=\"#\($0.id)\">\(escaped($0.text))</a></li>\n" }.joined()
            + more + "</ul>\n"
    }

    private static var introduction: String {
        APIReference.introduction.map { part in
            let isErrors = part.title == "Errors"
            return """
                <section id="\(part.title)">
                <h2>\(part.title)</h2>
                \(part.paragraphs.map { "<p>\(prose($0))</p>" }.joined(separator: "\n"))
                \(isErrors ? errors : "")
                </section>
                """
        }.joined(separator: "\n")
    }

    private static var errors: String {
        let rows = ErrorStatus.all.flatMap { entry in
            entry.codes.map { code in
                let isNginx = ErrorStatus.ofNginx.contains { $0.status == entry.status }
                return [
                    "\(entry.status)", "<code>\(code.rawValue)</code>",
                    escaped(isNginx ? entry.meaning : code.meaning),
                ]
            }
        }
        return pre(AnswerSchemas.failure.example.indentedText, "An error")
            + table(["Status", "Code", "Meaning"], rows)
    }

    // MARK: - Endpoints

    private static func section(_ noun: APIReference.Noun) -> String {
        let body =
            switch noun.name {
            case "upstream": upstream
            case "operators": OperatorPath.all.map(operatorPath).joined(separator: "\n")
            default:
                APIReference.endpoints.filter { $0.noun == noun.name }.map(endpoint)
                    .joined(separator: "\n")
            }
        return """
            <section id="\(noun.name)">
            <h2>\(noun.title)</h2>
            <p>\(escaped(noun.meaning))</p>
            \(body)
            </section>
            """
    }

    private static func endpoint(_ endpoint: Endpoint) -> String {
        let examples = ClientCalls.of(endpoint)
        let methods = endpoint.methods.filter { $0 != "HEAD" }.joined(separator: ", ")
        return """
            <article id="\(endpoint.name)">
            <h3><span class="method">\(methods)</span> \
            <code>\(endpoint.path)</code></h3>
            <p>\(escaped(endpoint.meaning))\(access(to: endpoint))</p>
            \(parameters(of: endpoint))
            \(headers(of: endpoint))
            <h4>Answer</h4>
            \(answer(of: endpoint))
            <h4>Errors</h4>
            <p>\(errorLinks(of: endpoint))</p>
            <h4>Example</h4>
            \(pre(CallExamples.curl(endpoint), "curl"))
            \(pre(examples.javaScript, "JavaScript"))
            \(pre(examples.python, "Python"))
            \(pre(examples.go, "Go"))
            </article>
            """
    }

    private static func access(to endpoint: Endpoint) -> String {
        switch endpoint.access {
        case .open: " No credential is needed."
        case .logout: " Without a credential the parameter token names the session."
        case .credential: ""
        }
    }

    private static func parameters(of endpoint: Endpoint) -> String {
        let rows = (endpoint.required + endpoint.optional).map { parameter -> [String] in
            let isRequired = endpoint.required.contains { $0.name == parameter.name }
            let value = APIReference.defaultText(of: parameter, endpoint) ?? "absent"
            let others = parameter.names.dropFirst().map { " or <code>\($0)</code>" }.joined()
            return [
                "<code>\(parameter.name)</code>\(others)", escaped(parameter.kind.text),
                isRequired ? "<strong>required</strong>" : escaped(value),
                escaped(parameter.meaning),
            ]
        }
        if rows.isEmpty { return "<p>There are no parameters.</p>" }
        return "<h4>Parameters</h4>\n" + table(["Name", "Type", "Default", "Meaning"], rows)
    }

    private static func headers(of endpoint: Endpoint) -> String {
        if endpoint.headers.isEmpty { return "" }
        return "<h4>Headers</h4>\n"
            + table(
                ["Name", "Meaning"],
                endpoint.headers.map { ["<code>\($0.name)</code>", escaped($0.meaning)] })
    }

    private static func answer(of endpoint: Endpoint) -> String {
        if endpoint.answer == .stream { return stream }
        let schemas = endpoint.answer.schemas
        let links = schemas.map { link(to: $0.name) }.joined(separator: " or ")
        return "<p>\(links): \(escaped(schemas[0].meaning))</p>\n"
            + pre(schemas[0].example.indentedText, "200")
    }

    private static var stream: String {
        let names = AnswerSchemas.eventFrames.map { link(to: $0.name) }.joined(separator: " or ")
        let webSocketNames = AnswerSchemas.webSocketFrames.map { link(to: $0.name) }
            .joined(separator: ", ")
        return """
            <p>Server-sent events whose data is \(names). An event named <code>reset</code> has a \
            \(link(to: AnswerSchemas.resetFrame.name)) and says that earlier frames may be lost; the newest messages \
            follow. A GET with <code>Upgrade: websocket</code> opens a WebSocket with the same objects as text \
            frames: \(webSocketNames).</p>
            <p>A new subscriber first gets the running replies from their beginning. A client that comes back with \
            the id of its last frame gets all frames after it.</p>
            \(pre(APIReference.exampleEvents, "200"))
            """
    }

    private static func errorLinks(of endpoint: Endpoint) -> String {
        let codes = (Endpoint.commonFailures + endpoint.failures).filter { $0 != .methodNotAllowed }
        let links = codes.sorted { ($0.status, $0.rawValue) < ($1.status, $1.rawValue) }.map {
            "<a href=\"#Errors\">\($0.status) <code>\($0.rawValue)</code></a>"
        }
        let refusals =
            endpoint.passesRefusals
            ? "; and the upstream's refusals with status "
                + UpstreamRefusal.Status.allCases.map { "\($0.rawValue)" }.joined(separator: ", ")
            : ""
        return links.joined(separator: ", ") + refusals + "."
    }

    // MARK: - The upstream and operators

    private static var upstream: String {
        """
        <article id="forward">
        <h3><span class="method">any method</span> <code>\(Endpoints.forwarded)…</code></h3>
        <p>\(escaped(APIReference.forwardedSummary)) The parameters are those of <a \
        href="\(APIReference.upstreamReference)">the upstream's own reference</a>.</p>
        <p>\(escaped(APIReference.forwardedAnswer))</p>
        <h4>Example</h4>
        \(pre(ClientCalls.upstreamCurl, "curl"))
        \(pre(ClientCalls.upstream.javaScript, "JavaScript"))
        \(pre(ClientCalls.upstream.python, "Python"))
        \(pre(ClientCalls.upstream.go, "Go"))
        </article>
        """
    }

    private static func operatorPath(_ entry: OperatorPath) -> String {
        let answer =
            switch entry.answer {
            case .json(let schema):
                "<p>\(link(to: schema.name))</p>\n" + pre(schema.example.indentedText, "200")
            case .text(_, let example): pre(example, "200")
            case .either(let example, let schema):
                "<p>Text, or \(link(to: schema.name)) with <code>?json</code>.</p>\n"
                    + pre(example, "200")
            }
        let access =
            entry.isForOperators
            ? "Only this host may ask, unless nginx says otherwise." : "No credential is needed."
        let flags = entry.flags.map { ["<code>\($0.name)</code>", escaped($0.meaning)] }
        return """
            <article id="\(entry.name)">
            <h3><span class="method">GET</span> <code>\(entry.path)</code></h3>
            <p>\(escaped(entry.meaning)) \(access)</p>
            \(flags.isEmpty ? "" : "<h4>Parameters</h4>\n" + table(["Flag", "Meaning"], flags))
            <h4>Answer</h4>
            \(answer)
            \(pre(CallExamples.curl(entry), "curl"))
            </article>
            """
    }

    // MARK: - Objects

    private static var objects: String {
        let tables = JSONSchema.closure(of: APIReference.rootSchemas).map { schema in
            let rows = schema.members.map { member in
                [
                    "<code>\(escaped(member.name))</code>\(member.isOptional ? " (optional)" : "")",
                    type(member.value), escaped(member.meaning),
                ]
            }
            let members =
                rows.isEmpty
                ? "<p>It has no members.</p>" : table(["Member", "Type", "Meaning"], rows)
            return """
                <article id="\(schema.name)">
                <h3>\(schema.name)</h3>
                <p>\(escaped(schema.meaning))</p>
                \(members)
                </article>
                """
        }
        return "<section id=\"objects\">\n<h2>Objects</h2>\n" + tables.joined(separator: "\n")
            + "\n</section>"
    }

    private static func type(_ value: ValueSchema) -> String {
        switch value {
        case .object(let schema): link(to: schema.name)
        case .list(let element): "list of \(type(element))"
        case .nullable(let element): "\(type(element)) or null"
        default: escaped(value.text)
        }
    }

    // MARK: - HTML

    private static func link(to name: String) -> String { "<a href=\"#\(name)\">\(name)</a>" }

    /// Code that can be scrolled, also by keyboard.
    private static func pre(_ text: String, _ caption: String) -> String {
        """
        <figure><figcaption>\(caption)</figcaption>\
        <pre tabindex="0"><code>\(escaped(text))</code></pre></figure>

        """
    }

    /// A table of cells that are HTML already.
    private static func table(_ heads: [String], _ rows: [[String]]) -> String {
        let head = heads.map { "<th scope=\"col\">\($0)</th>" }.joined()
        let body = rows.map { "<tr>\($0.map { "<td>\($0)</td>" }.joined())</tr>\n" }.joined()
        return "<div class=\"table\" tabindex=\"0\"><table>\n<thead><tr>\(head)</tr></thead>\n"
            + "<tbody>\n\(body)</tbody>\n</table></div>\n"
    }

    /// A paragraph of Markdown in which `code` alone is marked.
    private static func prose(_ text: String) -> String {
        text.split(separator: "`", omittingEmptySubsequences: false).enumerated().map {
            $0 % 2 == 0 ? escaped(String($1)) : "<code>\(escaped(String($1)))</code>"
        }.joined()
    }

    private static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;")
    }
}
