/// A file of the source tree that describes the API, made from the endpoint table.
struct APIDocument {
    /// Relative to the root of the source tree.
    let path: String
    let text: @Sendable () -> String

    static let all = [
        APIDocument(path: "docs/openapi.json") { OpenAPIDocument.json.indentedText + "\n" },
        APIDocument(path: "docs/api.http") { CallExamples.requestFile },
        APIDocument(path: "docs/llms.txt") { CallExamples.summaryForModels },
        APIDocument(path: "docs/reference.html") { ReferencePage.html },
    ]
}
