// The only place that reads the environment. A setting may also be a file of the same name in lower
// case in $CREDENTIALS_DIRECTORY, which systemd fills (systemd.exec(5), LoadCredential); a file
// wins, since it cannot be seen in /proc.

internal import Formats
internal import Glibc

extension Settings {
    /// The origin of a setting's value.
    package enum Origin: String, Sendable {
        case environment
        case credential
        /// The installed environment file.
        case file
        /// The environment of a running process of the service.
        case process = "running"
        case fallback = "default"
    }

    /// The texts of all settings with their origins.
    package struct Source: Sendable {
        package private(set) var values: [String: String] = [:]
        package private(set) var origins: [String: Origin] = [:]

        package init() {
            for entry in table { origins[entry.name] = .fallback }
        }

        package mutating func set(_ name: String, _ value: String, _ origin: Origin) {
            values[name] = value
            origins[name] = origin
        }

        /// Takes the variables with proxies, if `UPSTREAM_PROXY` is `environment`.
        mutating func setProxies(_ variable: (String) -> String?) {
            guard namesEnvironmentProxies(values["UPSTREAM_PROXY"] ?? "") else { return }
            for name in UpstreamProxyRules.variables { values[name] = variable(name) }
        }
    }

    /// Reads the settings of this process, then drops the secret ones from its environment, so that
    /// no child, core dump or /proc file shows them. Throws what is wrong, all at once.
    package static func fromEnvironment() throws(Problems) -> Settings {
        let source = readSource()
        dropSecrets()
        var problems: [String] = []
        // The environment file as a credential, for names that are no settings.
        if let directory = variable("CREDENTIALS_DIRECTORY") {
            let file = contents(ofFile: directory + "/environment", limit: 1024 * 1024)
            problems = Settings.problems(
                inEnvironmentFile: String(decoding: file, as: UTF8.self))
        }
        let settings: Settings
        do {
            settings = try Settings(values: source.values)
            if let problem = settings.certificateProblem { problems.append(problem) }
        } catch {
            throw Problems(all: problems + error.all)
        }
        if !problems.isEmpty { throw Problems(all: problems) }
        return settings
    }

    /// The problem of the file of certificate authorities, if one is named.
    var certificateProblem: String? {
        certificateFile.flatMap { file in
            CertificateFile.problem(file).map { "SSL_CERT_FILE: \(file) \($0)." }
        }
    }

    /// Whether the setting refers to `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
    static func namesEnvironmentProxies(_ setting: String) -> Bool {
        setting.lowercased() == "environment"
    }

    /// Removes the secret settings from this process's environment, and the addresses of proxies,
    /// which may have a password.
    static func dropSecrets() {
        for name in table.filter(\.isSecret).map(\.name) + UpstreamProxyRules.variables {
            // unsetenv leaves the bytes where /proc/PID/environ shows them.
            if let value = getenv(name) { memset(value, 0x2A, strlen(value)) }
            unsetenv(name)
        }
    }

    /// Reads the texts of all settings, unchecked.
    package static func readSource() -> Source {
        var source = Source()
        let credentials = variable("CREDENTIALS_DIRECTORY")
        for entry in table {
            if let directory = credentials,
                let text = firstLine(ofFile: directory + "/" + entry.name.lowercased()),
                !text.isEmpty
            {
                source.set(entry.name, text, .credential)
            } else if let text = variable(entry.name), !text.isEmpty {
                source.set(entry.name, text, .environment)
            }
        }
        source.setProxies(variable)
        return source
    }

    /// The variables that a service manager gives to a process, see sd_listen_fds(3), sd_notify(3)
    /// and sd_watchdog_enabled(3).
    package struct ServiceManager: Sendable {
        /// The names of the descriptors passed from 3 on; nil when none were passed.
        package let descriptorNames: [String]?
        package let notifySocket: String?
        /// Device and inode of standard error, where that is the journal's (systemd.exec(5)).
        package let journalStream: String?
        /// The watchdog's interval; nil where there is no watchdog.
        package let watchdogMilliseconds: Int64?

        package init() {
            journalStream = variable("JOURNAL_STREAM")
            notifySocket = variable("NOTIFY_SOCKET").flatMap { $0.isEmpty ? nil : $0 }
            let isWatched = variable("WATCHDOG_PID").map { $0 == String(getpid()) } ?? true
            watchdogMilliseconds = variable("WATCHDOG_USEC").flatMap(\.utf8.decimalNumber)
                .flatMap { isWatched && $0 >= 1000 ? $0 / 1000 : nil }
            let addressed = variable("LISTEN_PID").map { $0 == String(getpid()) } ?? true
            guard addressed, let number = variable("LISTEN_FDS").flatMap(\.utf8.decimalNumber),
                (1...16).contains(number)
            else {
                descriptorNames = nil
                return
            }
            let count = Int(number)
            var names = (variable("LISTEN_FDNAMES") ?? "worker").split(separator: ":").map(
                String.init)
            while names.count < count { names.append("unknown") }
            descriptorNames = Array(names.prefix(count))
        }
    }

    static func variable(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }
    }

    static func firstLine(ofFile path: String) -> String? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 64 * 1024)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(
            decoding: bytes.prefix(count).prefix { $0 != 0x0A && $0 != 0x0D }, as: UTF8.self)
    }
}
