internal import Formats
internal import Gateway
internal import ProxyGPT
internal import Testing

@testable internal import Admin

@Suite struct APIDocumentTests {
    private static let root = "\(#filePath)".split(
        separator: "/", omittingEmptySubsequences: false
    ).dropLast(3).joined(separator: "/")

    @Test("Documents show the endpoint table as it is", arguments: APIDocument.all.map(\.path))
    func documentsAreCurrent(_ path: String) throws {
        let document = try #require(APIDocument.all.first { $0.path == path })
        let bytes = Settings.contents(ofFile: "\(Self.root)/\(path)", limit: 1 << 22)
        let isCurrent = Array(document.text().utf8) == Array(bytes)
        #expect(isCurrent, "\(path) differs from the endpoint table: run `make docs`")
    }

    @Test("The OpenAPI document has every endpoint with its methods, parameters and statuses")
    func openAPIIsWhole() throws {
        let paths = try #require(OpenAPIDocument.json["paths"])
        for endpoint in Endpoints.all + [Endpoints.stream] {
            let path = try #require(paths[endpoint.path], "\(endpoint.path)")
            for method in endpoint.methods where method != "HEAD" {
                let operation = try #require(path[method.lowercased()], "\(endpoint.path)")
                let responses = try #require(operation["responses"])
                #expect(responses["200"] != nil)
                for code in Endpoint.commonFailures + endpoint.failures
                where code != .methodNotAllowed {
                    #expect(responses["\(code.status)"] != nil, "\(endpoint.path) \(code)")
                }
            }
            let names = (endpoint.required + endpoint.optional).map(\.name)
            let schemas = OpenAPIDocument.json["components"]?["schemas"]
            let properties = schemas?[endpoint.requestName]?["properties"]
            for name in names { #expect(properties?[name] != nil, "\(endpoint.path) \(name)") }
            let query = path["get"]?["parameters"]?.elements?.compactMap { $0["name"]?.stringValue }
            if endpoint.methods.contains("GET"), !names.isEmpty {
                #expect(query?.starts(with: names) == true, "\(endpoint.path)")
            }
        }
        for entry in OperatorPath.all { #expect(paths[entry.path]?["get"] != nil) }
        #expect(paths[Endpoints.forwarded + "{path}"] != nil)
    }

    @Test("Every reference in the OpenAPI document leads to a component")
    func referencesLeadSomewhere() throws {
        let document = OpenAPIDocument.json
        var references: [String] = []
        func collect(_ value: JSONValue) {
            switch value {
            case .object(let members):
                for member in members {
                    if member.name == "$ref", let text = member.value.stringValue {
                        references.append(text)
                    }
                    collect(member.value)
                }
            case .array(let elements): elements.forEach(collect)
            default: break
            }
        }
        collect(document)
        #expect(references.count > 100)
        for reference in Set(references) {
            var place: JSONValue? = document
            for part in reference.dropFirst(2).split(separator: "/") {
                place = place?[String(part)]
            }
            #expect(place != nil, "\(reference)")
        }
    }

    @Test("No two objects of answers, and no two operations, have one name")
    func namesAreUnique() throws {
        var names: [String] = []
        var ids: [String] = []
        guard case .object(let paths)? = OpenAPIDocument.json["paths"],
            case .object(let schemas)? = OpenAPIDocument.json["components"]?["schemas"]
        else {
            Issue.record("the document has no paths or no schemas")
            return
        }
        names = schemas.map(\.name)
        for path in paths {
            guard case .object(let operations) = path.value else { continue }
            ids += operations.compactMap { $0.value["operationId"]?.stringValue }
        }
        #expect(Set(names).count == names.count)
        #expect(ids.count > 40 && Set(ids).count == ids.count)
        // One name is one object wherever it stands.
        for schema in APIReference.rootSchemas {
            let definition = JSONSchema.definition(of: schema)
            #expect(OpenAPIDocument.json["components"]?["schemas"]?[schema.name] == definition)
        }
    }

    @Test("The reference has a section for every endpoint, object and error, and no script")
    func referenceIsWhole() {
        let page = ReferencePage.html
        for endpoint in APIReference.endpoints {
            #expect(page.contains("<article id=\"\(endpoint.name)\">"), "\(endpoint.path)")
        }
        for schema in JSONSchema.closure(of: APIReference.rootSchemas) {
            #expect(page.contains("<article id=\"\(schema.name)\">"), "\(schema.name)")
        }
        for code in Failure.Code.allCases {
            #expect(page.contains("<code>\(code.rawValue)</code>"), "\(code)")
        }
        #expect(!page.contains("<script") && !page.contains(" style="))
        #expect(page.firstMatch(of: #/<[^>]* on[a-z]+=/#) == nil)
        // Of other origins there is one link, and nothing that is loaded.
        #expect(page.firstMatch(of: #/src=/#) == nil)
        #expect(page.matches(of: #/href="[a-z]+:/#).count == 1)
    }

    @Test("docs/api.http and docs/llms.txt have every path")
    func callFilesAreWhole() {
        let requests = CallExamples.requestFile
        let summary = CallExamples.summaryForModels
        for endpoint in APIReference.endpoints {
            #expect(requests.contains("{{PROXY_GPT_URL}}\(endpoint.path)"), "\(endpoint.path)")
            #expect(summary.contains(" \(endpoint.path)`"), "\(endpoint.path)")
        }
        for entry in OperatorPath.all {
            #expect(requests.contains("{{PROXY_GPT_URL}}\(entry.path)\n"), "\(entry.path)")
            #expect(summary.contains(" \(entry.path)`"), "\(entry.path)")
        }
    }
}
