import Glibc

/// One file of the repository, taken apart far enough for rules about it.
struct SourceFile {
    /// From the repository's root on, `Sources/ProxyGPT/User.swift`.
    let path: String
    let text: String
    /// The text without comments and without what stands in string literals.
    let code: String
    /// What stands in string literals.
    let strings: [String]

    init(_ path: String, _ text: String) {
        self.path = path
        self.text = text
        var lexer = Lexer(text)
        lexer.run()
        code = lexer.code
        strings = lexer.strings
    }

    var name: String { path.split(separator: "/").last.map(String.init) ?? "" }

    /// The module that the file belongs to; nil for the package's own.
    var module: String? {
        let parts = path.split(separator: "/").map(String.init)
        if path.hasPrefix("Benchmarks/Load/") { return "LoadGenerator" }
        return parts.count > 2 && parts[0] == "Sources" ? parts[1] : nil
    }

    /// `Sources/Module/Name.swift`, whatever folder of its module the file lies in; else its path.
    var place: String { path.hasPrefix("Sources/") ? "Sources/\(module ?? "")/\(name)" : path }

    /// The modules that the file imports.
    var imports: [String] {
        code.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ").map(String.init)
            guard let index = words.firstIndex(of: "import"), index + 1 < words.count,
                words[..<index].allSatisfy({ $0.hasPrefix("@") || Self.accessLevels.contains($0) })
            else { return nil }
            let kinds = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
            let rest = words[(index + 1)...].drop { kinds.contains($0) }
            return rest.first.map { String($0.prefix { $0 != "." && $0 != ";" }) }
        }
    }

    private static let accessLevels = [
        "package", "internal", "private", "fileprivate", "public", "open",
    ]

    /// Whether the code has `word`, not as a part of a longer one.
    func uses(_ word: String) -> Bool {
        code.ranges(of: word).contains { range in
            let before = code[..<range.lowerBound].last
            let after = code[range.upperBound...].first
            return !Self.continues(before, word.first) && !Self.continues(after, word.last)
        }
    }

    private static func continues(_ neighbour: Character?, _ edge: Character?) -> Bool {
        func isWord(_ character: Character?) -> Bool {
            character.map { $0.isLetter || $0.isNumber || $0 == "_" } ?? false
        }
        return isWord(neighbour) && isWord(edge)
    }
}

extension SourceFile {
    /// All Swift files of the repository that this file is in.
    static func all(from file: StaticString = #filePath) -> [SourceFile] {
        let root = "\(file)".split(separator: "/", omittingEmptySubsequences: false)
            .dropLast(3).joined(separator: "/")
        return ["Sources", "Tests", "Benchmarks"].flatMap { swiftFiles(root, $0) }
            + [SourceFile("Package.swift", contents(root + "/Package.swift"))]
    }

    private static func swiftFiles(_ root: String, _ folder: String) -> [SourceFile] {
        guard let directory = opendir("\(root)/\(folder)") else { return [] }
        defer { closedir(directory) }
        var files: [SourceFile] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasPrefix(".") { continue }
            let path = "\(folder)/\(name)"
            if name.hasSuffix(".swift") {
                files.append(SourceFile(path, contents("\(root)/\(path)")))
            } else {
                files += swiftFiles(root, path)
            }
        }
        return files.sorted { $0.path < $1.path }
    }

    private static func contents(_ path: String) -> String {
        guard let file = fopen(path, "r") else { return "" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }
}
