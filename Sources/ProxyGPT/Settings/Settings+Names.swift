// Names that are no settings: an operator who mistypes one gets its default, and no word about it.

internal import Formats
internal import Glibc

extension Settings {
    /// Variables of an environment file that others read: the C library, libpq, OpenSSL, Swift's
    /// runtime, and the names of proxies.
    private static let others = [
        "TZ", "LANG", "LANGUAGE", "PATH", "HOME", "TMPDIR", "SSL_CERT_DIR", "GLIBC_TUNABLES",
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
    ]
    private static let beginningsOfOthers = [
        "LC_", "LD_", "PG", "MALLOC_", "OPENSSL_", "SWIFT_", "RES_",
    ]

    private static func isSomebodyElses(_ name: String) -> Bool {
        others.contains { equalIgnoringCase($0, name) }
            || beginningsOfOthers.contains { hasPrefixIgnoringCase(name, $0) }
    }

    /// What is wrong with the names in an environment file, a sentence each.
    package static func problems(inEnvironmentFile text: String) -> [String] {
        EnvironmentFile.assignments(in: text).compactMap { name, value in
            let shown = SettingsReader.printable(name)
            guard value != nil else { return "The line `\(shown)` sets nothing." }
            if table.contains(where: { $0.name.utf8.elementsEqual(name.utf8) }) { return nil }
            if isSomebodyElses(name) { return nil }
            let meant = nearest(to: name).map { "; \($0) is probably meant" } ?? ""
            return "`\(shown)` is no setting\(meant)."
        }
    }

    /// Names in this process's environment that are nearly a setting's, a sentence each.
    package static func nearMisses() -> [String] { nearMisses(among: environmentNames()) }

    static func nearMisses(among names: [String]) -> [String] {
        names.compactMap { name in
            guard !isSomebodyElses(name),
                !table.contains(where: { $0.name.utf8.elementsEqual(name.utf8) }),
                let meant = nearest(to: name)
            else { return nil }
            let shown = SettingsReader.printable(name)
            return "`\(shown)` is no setting; \(meant) is probably meant."
        }
    }

    /// The setting that is probably meant. Of a name of a few letters nothing is guessed: other programs
    /// have such as well.
    private static func nearest(to name: String) -> String? {
        nearestName(to: name, among: table.lazy.map(\.name), ofLength: 6...64)
    }

    private static func environmentNames() -> [String] {
        contents(ofFile: "/proc/self/environ", limit: 4 * 1024 * 1024).split(separator: 0).map {
            String(decoding: $0.prefix { $0 != UInt8(ascii: "=") }, as: UTF8.self)
        }
    }

    /// The first bytes of a regular file; none where it cannot be read, or is none: opening a pipe would
    /// wait for its other end.
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
