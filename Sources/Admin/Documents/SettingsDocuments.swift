internal import ProxyGPT

/// A file of the source tree that shows the table of settings, whole or between two lines.
struct SettingsDocument {
    /// Relative to the root of the source tree.
    let path: String
    private let beginning: String?
    private let end: String?
    private let settings: @Sendable () -> String

    static let all = [
        SettingsDocument(path: "systemd/environment", settings: environmentFile),
        SettingsDocument(path: "docs/settings.md", settings: page),
        SettingsDocument(
            path: "docs/man/proxy-gpt.5", between: ".SH SETTINGS\n", and: ".SH SEE ALSO\n",
            settings: manualPage),
        SettingsDocument(
            path: "README.md", between: "<!-- The table of settings, written by make docs -->\n",
            and: "<!-- End of the table of settings -->\n", settings: { table }),
    ]

    private init(
        path: String, between beginning: String? = nil, and end: String? = nil,
        settings: @escaping @Sendable () -> String
    ) {
        self.path = path
        self.beginning = beginning
        self.end = end
        self.settings = settings
    }

    /// The file's text with today's settings; nil where the lines around them are missing.
    func updated(_ text: String) -> String? {
        guard let beginning, let end else { return settings() }
        guard let first = text.firstRange(of: beginning),
            let last = text[first.upperBound...].firstRange(of: end)
        else { return nil }
        return text[..<first.upperBound] + settings() + text[last.lowerBound...]
    }

    // MARK: - README and docs/settings.md

    private static var table: String {
        "| Name | Value | Default | Meaning |\n|---|---|---|---|\n"
            + Settings.table.map { entry in
                "| `\(entry.name)` | \(entry.type) | \(code(entry.defaultText)) | "
                    + "\(entry.meaning) |\n"
            }.joined()
    }

    private static func page() -> String {
        """
        # Settings

        Environment variables, or files of the same name in lower case in `$CREDENTIALS_DIRECTORY`; an installation has
        them in `/etc/proxy-gpt/environment`. A process reads them when it starts. This page is written by `make docs`.


        """
            + Settings.table.map { entry in
                """
                ## \(entry.name)

                \(sentences(entry))

                - Value: \(entry.type)\(entry.isSecret ? "; secret" : "")
                - Default: \(entry.defaultText.isEmpty ? "empty" : code(entry.defaultText))
                - Used by: \(entry.programs.map(\.rawValue).joined(separator: ", "))

                """
            }.joined(separator: "\n")
    }

    private static func code(_ text: String) -> String { text.isEmpty ? "" : "`\(text)`" }

    private static func sentences(_ entry: Settings.Entry) -> String {
        entry.note.isEmpty ? entry.meaning : "\(entry.meaning) \(entry.note)"
    }

    // MARK: - systemd/environment

    private static func environmentFile() -> String {
        """
        # Settings of Proxy GPT: /etc/proxy-gpt/environment. A process reads them when it starts.
        #
        # Each line below that is commented out shows a default. A setting may instead be a file among
        # the service's credentials, named like it in lower case; the key is one, in
        # /etc/proxy-gpt/api_key, and stays out of this file. A process refuses to start on an invalid
        # value and names each of them, and on a name that is no setting.


        """
            + Settings.table.compactMap { entry in
                let comment = wrapped("\(sentences(entry)) Value: \(entry.type).")
                    .map { "# \($0)\n" }.joined()
                switch entry.installed {
                case .absent: return nil
                case .set(let value): return "\(comment)\(entry.name)=\(value)\n"
                case .atDefault: return "\(comment)#\(entry.name)=\(entry.defaultText)\n"
                }
            }.joined(separator: "\n")
    }

    private static func wrapped(_ text: String) -> [String] {
        text.split(separator: " ").reduce(into: [String]()) { lines, word in
            if let line = lines.last, line.count + word.count < 96 {
                lines[lines.count - 1] = "\(line) \(word)"
            } else {
                lines.append(String(word))
            }
        }
    }

    // MARK: - proxy-gpt(5)

    private static func manualPage() -> String {
        Settings.table.map { entry in
            let text = escaped(entry.defaultText)
            return ".TP\n.BR \(entry.name)\n"
                + escaped("\(sentences(entry)) The value is \(entry.type).")
                + (text.isEmpty ? "\n" : " The default is \\fB\(text)\\fP.\n")
        }.joined()
    }

    /// Text for roff: a hyphen stays one, and a line that begins with a dot is no request.
    private static func escaped(_ text: String) -> String {
        let text = text.replacing("\\", with: "\\e").replacing("-", with: "\\-")
        return text.hasPrefix(".") || text.hasPrefix("'") ? "\\&" + text : text
    }
}
