internal import ArgumentParser

/// `document-settings`: for `make docs`, not for operators.
struct DocumentSettings: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "document-settings",
        abstract: "Writes the table of settings into the documents of a source tree.",
        shouldDisplay: false)

    @Argument(help: "The root of the source tree.") var root: String

    func run() throws {
        for document in SettingsDocument.all {
            try SourceTree(root: root).update(document.path) { document.updated($0) }
        }
    }
}
