internal import Formats
internal import Gateway
internal import ProxyGPT

/// An answer with a page of a list, which may take megabytes: made element by element, and the turn
/// is given back in between, so that no other request waits for the whole.
struct PagedAnswer {
    private var writer: JSONValue.PacedWriter
    private var isEmpty = true

    /// - Parameter capacity: about how many bytes the answer will have.
    init(capacity: Int = 1024, pause: @escaping () async -> Void = { await Task.yield() }) {
        writer = JSONValue.PacedWriter(capacity: capacity, pause: pause)
    }

    /// Adds a member.
    mutating func add(_ name: String, _ value: JSONValue) async {
        begin(name)
        await writer.write(value)
    }

    /// Adds a member with a list.
    mutating func add<Element>(
        _ name: String, _ elements: [Element], _ view: (Element) -> JSONValue
    ) async {
        begin(name)
        writer.write(raw: "[")
        for (index, element) in elements.enumerated() {
            if index > 0 { writer.write(raw: ",") }
            await writer.write(view(element))
        }
        writer.write(raw: "]")
    }

    /// Adds a member with a page of a list, and whether the list goes on.
    mutating func add<Element>(
        _ name: String, _ page: Listing<Element>, _ view: (Element) -> JSONValue
    ) async {
        await add(name, page.elements, view)
        await add("has_more", .boolean(page.hasMore))
    }

    private mutating func begin(_ name: String) {
        writer.write(raw: isEmpty ? "{" : ",")
        isEmpty = false
        writer.write(name: name)
    }

    /// The whole answer. Called once, after the last member.
    consuming func response() -> Response {
        writer.write(raw: isEmpty ? "{}" : "}")
        return Response(encoded: writer.bytes)
    }
}

extension Response {
    /// A page of a list as an object: the elements under `name`, and whether there are more.
    init<Element>(
        _ page: Listing<Element>, _ name: String, _ view: (Element) -> JSONValue
    ) async {
        var answer = PagedAnswer(capacity: page.elements.count * 512)
        await answer.add(name, page, view)
        self = answer.response()
    }
}
