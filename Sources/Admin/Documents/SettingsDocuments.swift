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
        SettingsDocument(path: "docs/configuration.md", settings: page),
        SettingsDocument(
            path: "docs/man/proxy-gpt.5", between: ".SH SETTINGS\n", and: ".SH SEE ALSO\n",
            settings: manualPage),
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

    // MARK: - docs/configuration.md

    private static func page() -> String {
        let rows = Settings.table.map { entry in
            let name = "[`\(entry.name)`](#\(entry.name.lowercased()))"
            return "| \(name) | \(code(entry.defaultText)) | \(entry.meaning) |\n"
        }
        return introduction + rows.joined() + "\n"
            + Settings.table.map(section).joined(separator: "\n")
    }

    private static func section(_ entry: Settings.Entry) -> String {
        """
        ## \(entry.name)

        \(sentences(entry))

        - Value: \(entry.type)\(entry.isSecret ? "; secret" : "")
        - Default: \(entry.defaultText.isEmpty ? "empty" : code(entry.defaultText))
        - Example: `\(entry.name)=\(entry.example)`
        - What goes wrong: \(entry.symptom)
        - Used by: \(entry.programs.map(\.rawValue).joined(separator: ", "))

        """
    }

    private static let introduction = """
        # Configuration

        This page is written by `make docs` from the table of settings. Each setting is an environment variable. A
        process reads the settings when it starts.

        | Where the service runs | Where its settings stand |
        |---|---|
        | an installation | `/etc/proxy-gpt/environment`, one `NAME=value` a line; the key in `/etc/proxy-gpt/api_key` |
        | `make run` | the environment of the command, as in `SIGNUP=closed make run` |
        | a container or a unit of your own | the environment, or files in `$CREDENTIALS_DIRECTORY` whose names are the settings' in lower case |

        After a change, `sudo proxy-gpt-restart` checks the settings and replaces the processes without losing a request.

        - A process checks all settings at its start and reports all problems at once. A bad value is quoted, unless it
          is secret or an address.
        - A name in `/etc/proxy-gpt/environment` that is no setting keeps the service from starting. The message names
          the setting that was probably meant. A name in the process's environment that is nearly a setting's is a
          warning in the log.
        - Numbers are decimal digits. Times are in seconds, with up to three places.
        - A user name or a password in `DB_ADDRESS` is written with `%40` for `@`, `%2F` for `/` and `%3F` for `?`.
        - `proxy.db` may not be a link. The path in `STATE_DIRECTORY` may lead through links.

        Two commands show and check the settings. Neither of them starts anything:

        ```sh
        proxy-gpt-admin config
        proxy-gpt-admin config --check
        ```

        `make run` reads three further variables, which are no settings of the programs: `PORT` (8080), `WORKERS` (2) and
        `STATE_DIRECTORY` (`.state/`). It also sets `PASSWORD_MIN=3` unless the environment does, so that the short
        passwords of the examples are accepted.

        | Setting | Default | Meaning |
        |---|---|---|

        """

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
