// Unknown names in the environment file: a mistyped setting would silently have its default.

internal import Formats
internal import Glibc

extension Settings {
    /// Variables for the C library, libpq, OpenSSL and Swift's runtime, and those of proxies.
    private static let foreignNames = [
        "TZ", "LANG", "LANGUAGE", "PATH", "HOME", "TMPDIR", "SSL_CERT_DIR", "GLIBC_TUNABLES",
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
    ]
    private static let foreignPrefixes = [
        "LC_", "LD_", "PG", "MALLOC_", "OPENSSL_", "SWIFT_", "RES_",
    ]

    private static func isForeign(_ name: String) -> Bool {
        foreignNames.contains { equalIgnoringCase($0, name) }
            || foreignPrefixes.contains { hasPrefixIgnoringCase(name, $0) }
    }

    /// The problems of the names in an environment file, a sentence each.
    package static func problems(inEnvironmentFile text: String) -> [String] {
        EnvironmentFile.assignments(in: text).compactMap { name, value in
            let shown = SettingsReader.printable(name)
            guard value != nil else { return "The line `\(shown)` sets nothing." }
            if table.contains(where: { $0.name.utf8.elementsEqual(name.utf8) }) { return nil }
            if isForeign(name) { return nil }
            let meant = nearest(to: name).map { "; \($0) is probably meant" } ?? ""
            return "`\(shown)` is no setting\(meant)."
        }
    }

    /// Variables of this process whose names are nearly a setting's, a sentence each.
    package static func nearMisses() -> [String] { nearMisses(among: environmentNames()) }

    static func nearMisses(among names: [String]) -> [String] {
        names.compactMap { name in
            guard !isForeign(name),
                !table.contains(where: { $0.name.utf8.elementsEqual(name.utf8) }),
                let meant = nearest(to: name)
            else { return nil }
            let shown = SettingsReader.printable(name)
            return "`\(shown)` is no setting; \(meant) is probably meant."
        }
    }

    /// The setting that is probably meant. Short names are never taken for one, since other
    /// programs have such variables.
    private static func nearest(to name: String) -> String? {
        nearestName(to: name, among: table.lazy.map(\.name), ofLength: 6...64)
    }

    private static func environmentNames() -> [String] {
        contents(ofFile: "/proc/self/environ", limit: 4 * 1024 * 1024).split(separator: 0).map {
            String(decoding: $0.prefix { $0 != UInt8(ascii: "=") }, as: UTF8.self)
        }
    }

    /// The first bytes of a regular file; empty where it cannot be read or is not regular: opening
    /// a pipe would wait for its other end.
    package static func contents(ofFile path: String, limit: Int) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { return [] }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
            let file = fdopen(descriptor, "r")
        else {
            close(descriptor)
            return []
        }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 * 1024)
        while bytes.count < limit {
            let count = fread(&buffer, 1, min(buffer.count, limit - bytes.count), file)
            if count == 0 { break }
            bytes += buffer.prefix(count)
        }
        return bytes
    }
}
