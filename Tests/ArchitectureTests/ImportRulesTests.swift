import TestSupport
import Testing

/// Holds the sources to the rules of the house, and shows of each rule that it bites.
@Suite(.ownThread) struct ImportRulesTests {
    private static let files = SourceFile.all()

    private func file(_ path: String, _ text: String) -> [SourceFile] {
        [SourceFile(path, text)]
    }

    @Test("ImportRules: the sources are found")
    func findsTheSources() {
        let modules = Set(Self.files.compactMap(\.module))
        #expect(modules.isSuperset(of: Rules.imports.keys))
        #expect(Self.files.contains { $0.place == "Sources/ProxyGPT/Failure.swift" })
        #expect(Self.files.contains { $0.place == "Sources/SQLStorage/Migrations.swift" })
        #expect(Self.files.contains { $0.place == "Sources/Gateway/Endpoints.swift" })
        #expect(Self.files.contains { $0.path.hasPrefix("Tests/ArchitectureTests/") })
        // And read: what is forbidden to others is there where it is allowed.
        let words = [
            "Failure.swift": "enum Code", "Endpoints.swift": "Endpoint(",
            "Settings+Environment.swift": "getenv",
        ]
        for (name, word) in words {
            #expect(Self.files.contains { $0.name == name && $0.code.contains(word) }, "\(name)")
        }
        #expect(Self.files.contains { $0.imports.contains("CFastCGI") })
    }

    @Test("ImportRules: every module imports what it may, and no module is without a rule")
    func imports() {
        #expect(Rules.brokenImports(Self.files) == [])
        let samples = [
            ("Sources/ProxyGPT/A.swift", "internal import EventLoop"),
            ("Sources/ProxyGPT/A.swift", "import Foundation"),
            ("Sources/HTTPAPI/A.swift", "package import SQLStorage"),
            ("Sources/HTTPAPI/A.swift", "import EventLoop"),
            ("Sources/SQLStorage/A.swift", "internal import CurlUpstream"),
            ("Sources/FastCGI/A.swift", "@preconcurrency internal import ProxyGPT"),
            ("Sources/Worker/A.swift", "import NIOCore"),
            ("Sources/Streamer/A.swift", "import NIOCore"),
            ("Sources/Streaming/A.swift", "import SQLStorage"),
            ("Sources/Gateway/A.swift", "import HTTPAPI"),
            ("Sources/Streaming/A.swift", "import HTTPAPI"),
            ("Sources/Formats/A.swift", "import ProxyGPT"),
            ("Sources/CurlUpstream/A.swift", "import struct HTTPAPI.Request"),
            ("Sources/Credentials/A.swift", "import Logging"),
            ("Benchmarks/Load/A.swift", "import ProxyGPT"),
            ("Sources/EventLoop/A.swift", "import CFastCGI"), ("Sources/Unknown/A.swift", ""),
        ]
        for (path, text) in samples {
            #expect(Rules.brokenImports(file(path, text)).count == 1, "\(path): \(text)")
        }
        let fine = "// import Foundation\ninternal import Glibc\nlet text = \"import Foundation\"\n"
        #expect(Rules.brokenImports(file("Sources/ProxyGPT/A.swift", fine)) == [])
    }

    @Test("ImportRules: each C module belongs to one module")
    func cModules() {
        #expect(Rules.sharedCModules(Self.files.filter { $0.module != nil }) == [])
        let two =
            file("Sources/A/A.swift", "import CCurl")
            + file("Sources/B/B.swift", "internal import CCurl")
        #expect(Rules.sharedCModules(two) == ["CCurl is imported by A and B"])
    }

    @Test("ImportRules: only the settings read the environment")
    func environment() {
        #expect(Rules.environmentReaders(Self.files) == [])
        for text in [
            "getenv(\"A\")", "ProcessInfo.processInfo", "let a = environ", "secure_getenv(\"A\")",
        ] {
            #expect(
                Rules.environmentReaders(file("Sources/Worker/A.swift", text)).count == 1, "\(text)"
            )
        }
        let fine = "setenv(\"A\", \"B\", 1) // getenv(\"A\")\nlet environment = Environment()"
        #expect(Rules.environmentReaders(file("Sources/FastCGI/A.swift", fine)) == [])
        #expect(
            Rules.environmentReaders(file("Sources/ProxyGPT/Settings+A.swift", "getenv(\"A\")"))
                == [])
    }

    @Test("ImportRules: one table maps failures to statuses")
    func statuses() {
        #expect(Rules.statusTables(Self.files) == [])
        for text in [
            "case .notFound: 404", "case .a, .b: return 503", "Response(status: 401)",
            "case .x:\n    500",
        ] {
            #expect(Rules.statusTables(file("Sources/HTTPAPI/A.swift", text)).count == 1, "\(text)")
        }
        let fine = "case .a: 4096\nResponse(status: 204)\nif status >= 400 {}\n\"case .a: 404\""
        #expect(Rules.statusTables(file("Sources/HTTPAPI/A.swift", fine)) == [])
    }

    @Test("ImportRules: one file makes tables")
    func schemas() {
        #expect(Rules.schemas(Self.files) == [])
        #expect(!Rules.schemas([SourceFile("Sources/X/Y.swift", migrations)]).isEmpty)
        for sql in ["CREATE TABLE a (b)", "create  unique index a ON b (c)", "x; CREATE INDEX y"] {
            #expect(
                Rules.schemas(file("Sources/SQLStorage/A.swift", "let a = \"\(sql)\"")).count == 1,
                "\(sql)")
        }
        #expect(Rules.schemas(file("Sources/SQLStorage/A.swift", "// CREATE TABLE a")) == [])
    }

    private var migrations: String {
        Self.files.first { $0.place == "Sources/SQLStorage/Migrations.swift" }?.text ?? ""
    }

    @Test("ImportRules: one file holds the routes")
    func routes() {
        #expect(Rules.routes(Self.files) == [])
        for path in ["/user/read", "/v1/", "/v1", "/chat", "/group/\\(name)"] {
            #expect(
                Rules.routes(file("Sources/HTTPAPI/A.swift", "let a = \"\(path)\"")).count == 1,
                "\(path)")
        }
        let fine = "// \"/user/read\"\nlet a = [\"/users\", \"/v10\", \"user/read\"]"
        #expect(Rules.routes(file("Sources/HTTPAPI/A.swift", fine)) == [])
    }

    @Test("ImportRules: randomness comes from one module")
    func randomness() {
        #expect(Rules.randomness(Self.files) == [])
        for text in [
            "Int.random(in: 0..<2)", "SystemRandomNumberGenerator()", "list.randomElement()",
            "list.shuffled()",
            "getrandom(a, 1, 0)", "RAND_bytes(a, 1)", "arc4random()", "rand()",
        ] {
            #expect(Rules.randomness(file("Sources/HTTPAPI/A.swift", text)).count == 1, "\(text)")
        }
        #expect(
            Rules.randomness(
                file("Sources/HTTPAPI/A.swift", "Token.random()\nlet randomness = operand")) == [])
        #expect(Rules.randomness(file("Sources/Credentials/A.swift", "RAND_bytes(a, 1)")) == [])
    }

    @Test("ImportRules: nothing traps on purpose or is public")
    func words() {
        #expect(Rules.forbiddenWords(Self.files) == [])
        for text in [
            "try! a()", "a as! B", "fatalError()", "public struct A {}", "\"\\(try! a())\"",
        ] {
            #expect(
                Rules.forbiddenWords(file("Sources/HTTPAPI/A.swift", text)).count == 1, "\(text)")
        }
        let fine =
            "// try! as! fatalError public\nlet publicOrigins = \"public as! try!\"\nlet republic = 1"
        #expect(Rules.forbiddenWords(file("Sources/HTTPAPI/A.swift", fine)) == [])
    }

    @Test("ImportRules: text from outside is neither cut nor compared by Characters, and no key")
    func outsideText() {
        #expect(Rules.unsafeCharacterUses(Self.files) == [])
        for text in [
            "var a: [String: Int] = [:]", "var a: Set<String> = []", "Dictionary<String, Int>()",
            "a.split(separator: \",\")", "a.prefix { $0 != \"?\" }", "a.drop { $0 == \" \" }",
            "a.firstIndex(of: \":\")", "a.lastIndex(of: \"@\")",
            "a.dropFirst(\"x=\".count)", "a.drop(while: \\.isWhitespace)", "a.hasPrefix(b)",
            "a.hasSuffix(\"b\")", "a.contains(\"b\")", "while a.last == \" \" {}",
            "a.lowercased()", "a.uppercased()",
        ] {
            #expect(
                Rules.characterUses(file("Sources/HTTPAPI/A.swift", text)).count == 1, "\(text)")
        }
        let fine = """
            let a: [String] = []; b.split(separator: UInt8(ascii: ","))
            b.prefix { $0 != UInt8(ascii: "?") }; b.utf8.dropFirst("x".utf8.count)
            b.firstIndex(of: UInt8(ascii: ":")); scalar.properties.isWhitespace
            b.utf8.last == UInt8(ascii: " ") // a.hasPrefix("b")
            """
        #expect(Rules.characterUses(file("Sources/HTTPAPI/A.swift", fine)) == [])
        #expect(Rules.characterUses(file("Sources/Metrics/A.swift", "a.hasPrefix(b)")) == [])
    }

    @Test("ImportRules: code that suspends checks its state again before the next suspension")
    func waits() {
        #expect(Rules.blindWaits(Self.files) == [])
        for text in [
            "if !a { await withUnsafeContinuation { b = $0 } }",
            "await withCheckedContinuation { self.b = $0 }",
            "await withUnsafeContinuation { continuation in\n    b.append(continuation)\n}",
            "await withUnsafeThrowingContinuation { waiting[number] = $0 }",
        ] {
            #expect(Rules.blindWaits(file("Sources/Logs/A.swift", text)).count == 1, "\(text)")
        }
        let fine = """
            await withUnsafeContinuation { queue.close($0) }
            await withUnsafeContinuation { now in
                if a { now.resume() } else { b = now }
            }
            """
        #expect(Rules.blindWaits(file("Sources/Logs/A.swift", fine)) == [])
    }

    @Test("ImportRules: numbers of the database are cut down where they are decoded")
    func numbers() {
        #expect(Rules.uncheckedNumbers(Self.files) == [])
        for text in ["if case .integer(let a) = b {}", "guard case let .integer(a) = b"] {
            #expect(Rules.uncheckedNumbers(file("Sources/SQLStorage/A.swift", text)).count == 1)
            #expect(Rules.uncheckedNumbers(file("Sources/SQLStorage/Row.swift", text)) == [])
        }
    }

    @Test("ImportRules: a number out of a text has decimal digits alone")
    func digits() {
        #expect(Rules.signedNumbers(Self.files) == [])
        for text in [
            "Int64(String(decoding: a, as: UTF8.self))", "Int(text)", "UInt16(text(a))",
            "Int32(argument)",
        ] {
            #expect(Rules.signedNumbers(file("Sources/Admin/A.swift", text)).count == 1, "\(text)")
        }
        #expect(Rules.signedNumbers(file("Sources/HTTPAPI/A.swift", "Int64(text.count)")) == [])
    }

    @Test("ImportRules: our event loop and that of NIO do not meet in a file")
    func loops() {
        #expect(Rules.mixedLoops(Self.files) == [])
        let both = "internal import EventLoop\ninternal import NIOCore\n"
        #expect(Rules.mixedLoops(file("Sources/Streaming/A.swift", both)).count == 1)
        #expect(Rules.mixedLoops(file("Sources/Streaming/A.swift", "import NIOCore")) == [])
    }

    @Test("ImportRules: no file is longer than four hundred lines")
    func lengths() {
        #expect(Rules.longFiles(Self.files) == [])
        let lines = String(repeating: "\n", count: 400)
        #expect(Rules.longFiles(file("Tests/A.swift", lines)) == [])
        #expect(
            Rules.longFiles(file("Tests/A.swift", lines + "\n")) == ["Tests/A.swift has 401 lines"])
    }
}
