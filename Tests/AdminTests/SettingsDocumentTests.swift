internal import ProxyGPT
internal import Testing

@testable internal import Admin

@Suite struct SettingsDocumentTests {
    private static let root = "\(#filePath)".split(
        separator: "/", omittingEmptySubsequences: false
    ).dropLast(3).joined(separator: "/")

    @Test(
        "Documents show the table of settings as it is",
        arguments: SettingsDocument.all.map(\.path))
    func documentsAreCurrent(_ path: String) throws {
        let document = try #require(SettingsDocument.all.first { $0.path == path })
        let bytes = Settings.contents(ofFile: "\(Self.root)/\(path)", limit: 1 << 20)
        let text = String(decoding: bytes, as: UTF8.self)
        let isCurrent = document.updated(text) == text
        #expect(isCurrent, "\(path) has other settings than Settings.table: run `make docs`")
    }

    @Test func `the environment file sets SIGNUP and shows all other defaults in comments`() throws
    {
        let document = try #require(
            SettingsDocument.all.first { $0.path == "systemd/environment" })
        let text = try #require(document.updated(""))
        #expect(EnvironmentFile.variables(in: text) == ["SIGNUP": "closed"])
        #expect(Settings.problems(inEnvironmentFile: text) == [])
        for entry in Settings.table where entry.installed == .atDefault {
            #expect(text.contains("\n#\(entry.name)=\(entry.defaultText)\n"), "\(entry.name)")
        }
    }

    @Test("The example of a setting is valid", arguments: Settings.table.map(\.name))
    func examplesAreValid(_ name: String) throws {
        let entry = try #require(Settings.table.first { $0.name == name })
        #expect(!entry.symptom.isEmpty && entry.example != entry.defaultText)
        // Azure needs an address as well.
        let others = ["API_KEY": "sk-0123456789abcdef", "API_URL": "https://example.org/openai/v1"]
        _ = try Settings(values: others.merging([name: entry.example]) { $1 })
    }
}
