internal import ArgumentParser
internal import Glibc
internal import ProxyGPT

/// `document-settings`: for `make docs`, not for operators.
struct DocumentSettings: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "document-settings",
        abstract: "Writes the table of settings into the documents of a source tree.",
        shouldDisplay: false)

    @Argument(help: "The root of the source tree.") var root: String

    func run() throws {
        for document in SettingsDocument.all {
            let path = "\(root)/\(document.path)"
            let text = String(
                decoding: Settings.contents(ofFile: path, limit: 1 << 20), as: UTF8.self)
            guard let updated = document.updated(text) else {
                throw CommandError("\(path) has no place for the settings")
            }
            guard updated != text else { continue }
            guard let file = fopen(path, "we"), fputs(updated, file) >= 0, fclose(file) == 0 else {
                throw CommandError("\(path) cannot be written")
            }
            print("\(path) written")
        }
    }
}
