// The settings of the operator's commands: from their own environment, if it names a database; else
// from the installation.

internal import Glibc

/// The settings as a command uses them: it reads single settings, while a worker checks all.
package struct OperatorSettings: Sendable {
    /// Where the settings were found.
    package enum Place: Sendable, Equatable, CustomStringConvertible {
        case environment
        case file(String)
        case directory(String)
        /// A process of the service, with its secrets from elsewhere.
        case process(Int32, isInstalled: Bool)

        /// Whether the workers of an installation have these settings.
        fileprivate var isInstalled: Bool {
            switch self {
            case .file: true
            case .process(_, let isInstalled): isInstalled
            case .environment, .directory: false
            }
        }

        package var description: String {
            switch self {
            case .environment: "the environment"
            case .file(let path): path
            case .directory(let path): "no settings, the directory \(path)"
            case .process(let id, _): "the running service, process \(id)"
            }
        }
    }

    /// The paths of an installation.
    package struct Installation: Sendable {
        package var environmentFile = "/etc/proxy-gpt/environment"
        package var keyFile = "/etc/proxy-gpt/api_key"
        package var stateDirectory = "/var/lib/proxy-gpt"

        package init() {}

        package init(environmentFile: String, keyFile: String, stateDirectory: String) {
            self.environmentFile = environmentFile
            self.keyFile = keyFile
            self.stateDirectory = stateDirectory
        }
    }

    /// The settings exist, but the caller may not read them.
    package struct Hidden: Error, CustomStringConvertible {
        let path: String
        package var description: String { "\(path) cannot be read: run this as root" }
    }

    package let place: Place
    package let source: Settings.Source
    /// Secret settings that the running service has and that are not known here.
    package private(set) var unknownSecrets: [String] = []

    /// Reads the settings of this process or of the installation, and takes secrets out of the
    /// environment.
    package static func find(
        _ installation: Installation = Installation()
    ) throws(Hidden) -> OperatorSettings {
        let own = Settings.readSource()
        Settings.dropSecrets()
        return try find(own, installation)
    }

    static func find(
        _ own: Settings.Source, _ installation: Installation
    ) throws(Hidden) -> OperatorSettings {
        if own.values["STATE_DIRECTORY"] != nil || own.values["DB_ADDRESS"] != nil {
            return OperatorSettings(place: .environment, source: own)
        }
        if let text = try contents(of: installation.environmentFile) {
            var source = Settings.Source()
            source.set("STATE_DIRECTORY", installation.stateDirectory, .fallback)
            let variables = EnvironmentFile.variables(in: text)
            for entry in Settings.table {
                guard let value = variables[entry.name], !value.isEmpty else { continue }
                source.set(entry.name, value, .file)
            }
            source.setProxies { variables[$0] }
            if let key = Settings.firstLine(ofFile: installation.keyFile), !key.isEmpty {
                source.set("API_KEY", key, .credential)
            }
            return OperatorSettings(place: .file(installation.environmentFile), source: source)
        }
        let isThere = access(installation.stateDirectory, F_OK) == 0
        var source = own
        if isThere { source.set("STATE_DIRECTORY", installation.stateDirectory, .fallback) }
        return OperatorSettings(
            place: .directory(isThere ? installation.stateDirectory : "."), source: source)
    }

    /// The contents of a small file; nil where there is none.
    private static func contents(of path: String) throws(Hidden) -> String? {
        guard let file = fopen(path, "re") else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw Hidden(path: path)
        }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1024 * 1024)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }

    /// The text of a setting.
    package func value(_ name: String) -> String {
        source.values[name] ?? Settings.entry(name).defaultText
    }

    package var stateDirectory: String { value("STATE_DIRECTORY") }

    /// The database. Throws where the setting names none.
    package func database() throws(Settings.Problems) -> DatabaseAddress {
        try read { $0.database() }
    }

    /// Whether statements are prepared. Throws where the setting says neither.
    package func preparesStatements() throws(Settings.Problems) -> Bool {
        try read { $0.choice("DB_PREPARED") } == "on"
    }

    /// The shortest new password. Throws where the setting is none.
    package func passwordMinimum() throws(Settings.Problems) -> Int {
        try read { $0.integer("PASSWORD_MIN") }
    }

    /// The cost of a new password's hash. Throws where the setting is none.
    package func passwordCost() throws(Settings.Problems) -> Int {
        try read { $0.integer("PASSWORD_COST") }
    }

    /// How long bodies are kept. Throws where the setting is no number of days.
    package func eventDays() throws(Settings.Problems) -> Int {
        try read { $0.integer("EVENT_DAYS") }
    }

    /// How long rows of events are kept, 0 for ever. Throws where the setting is no number of days.
    package func eventRowDays() throws(Settings.Problems) -> Int {
        try read { $0.integer("EVENT_ROW_DAYS") }
    }

    private func read<T>(_ setting: (inout SettingsReader) -> T) throws(Settings.Problems) -> T {
        var reader = SettingsReader(source.values)
        let value = setting(&reader)
        guard reader.problems.isEmpty else { throw Settings.Problems(all: reader.problems) }
        return value
    }

    /// The settings as a worker reads them. Throws all problems; a missing key is one only where
    /// these are the workers' settings.
    package func whole() throws(Settings.Problems) -> Settings {
        let settings = try Settings(values: source.values, requiresKey: place.isInstalled)
        if let problem = settings.certificateProblem { throw Settings.Problems(all: [problem]) }
        return settings
    }

    /// The problems of the names in the installed environment file; none where there is no file.
    package static func problemsOfFile(
        _ installation: Installation = Installation()
    ) throws(Hidden) -> [String] {
        guard let text = try contents(of: installation.environmentFile) else { return [] }
        return Settings.problems(inEnvironmentFile: text)
    }

    /// The settings of a running process.
    package struct OfService: Sendable {
        package let settings: OperatorSettings
        /// The place of the settings that were found before.
        package let place: Place
        /// The names of settings with another value in the process.
        package let differing: [String]
    }

    /// The settings of a process of the service. Its secrets are not readable and are taken from
    /// the settings that were found.
    package func ofService(_ process: RunningProcess) -> OfService {
        var merged = Settings.Source()
        var differing: [String] = []
        var unknown: [String] = []
        for entry in Settings.table {
            let found = source.values[entry.name] ?? ""
            let running = process.environment[entry.name] ?? ""
            // A credential is in no environment.
            let isHidden = entry.isSecret || source.origins[entry.name] == .credential
            if isHidden {
                if !found.isEmpty {
                    merged.set(entry.name, found, source.origins[entry.name] ?? .fallback)
                } else if !running.isEmpty {
                    unknown.append(entry.name)
                }
            } else if entry.name == "STATE_DIRECTORY" {
                merged.set(entry.name, stateDirectory, source.origins[entry.name] ?? .fallback)
            } else {
                let isSame = value(entry.name) == (running.isEmpty ? entry.defaultText : running)
                if !isSame { differing.append(entry.name) }
                let origin = isSame ? source.origins[entry.name] ?? .fallback : .process
                if !running.isEmpty { merged.set(entry.name, running, origin) }
            }
        }
        var settings = OperatorSettings(
            place: .process(process.id, isInstalled: place.isInstalled), source: merged)
        settings.unknownSecrets = unknown
        return OfService(settings: settings, place: place, differing: differing)
    }

    /// The user who became root by sudo, for events.
    package static var sudoUser: String? { Settings.variable("SUDO_USER") }
}
