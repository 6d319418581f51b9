internal import ArgumentParser

/// `openapi`: the description of the API.
struct OpenAPI: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "openapi",
        abstract: "Prints the OpenAPI 3.1 document of the API.",
        discussion:
            "The service has the same document at /openapi.json, and a page for people at /docs.")

    /// The document is JSON in any case.
    @OptionGroup var output: OutputOptions

    func run() {
        print(OpenAPIDocument.json.indentedText)
    }
}

/// `document-api`: for `make docs`, not for operators.
struct DocumentAPI: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "document-api",
        abstract: "Writes the documents of the API into a source tree.",
        shouldDisplay: false)

    @Argument(help: "The root of the source tree.") var root: String

    func run() throws {
        for document in APIDocument.all {
            try SourceTree(root: root).update(document.path) { _ in document.text() }
        }
    }
}
