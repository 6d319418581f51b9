internal import ProxyGPT

/// The parameters of a request: query string, then form body, then JSON body; later wins.
struct Parameters: Sendable {
    private enum Value: Sendable {
        /// From a query or form: all that were given under the name, in order.
        case texts([String])
        case json(JSONValue)
    }

    private var values: [String: Value] = [:]

    /// Throws `invalidRequest` for what is malformed, naming the parameter where there is one, and
    /// `unsupportedMediaType` for a body of another type.
    init(query: String?, body: [UInt8] = [], contentType: String? = nil) throws(Failure) {
        if let query { try addForm(Array(query.utf8)) }
        guard let first = body.first(where: { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }) else {
            return
        }
        let type =
            (contentType ?? "").prefix { $0 != ";" }.lowercased()
            .split(separator: " ").first.map(String.init) ?? ""
        // curl -d '{…}' labels JSON as a form.
        if type == "application/json" || first == UInt8(ascii: "{") {
            try addJSON(body)
        } else if type.isEmpty || type == "application/x-www-form-urlencoded" {
            try addForm(body)
        } else {
            throw Failure(
                .unsupportedMediaType,
                "Send application/json or application/x-www-form-urlencoded.")
        }
    }

    private mutating func addForm(_ form: [UInt8]) throws(Failure) {
        var source: [String: [String]] = [:]
        for pair in form.split(separator: UInt8(ascii: "&")) {
            let rawName = pair.prefix { $0 != UInt8(ascii: "=") }
            let name = try Self.decode(rawName, of: nil)
            let value = try Self.decode(pair.dropFirst(rawName.count + 1), of: name)
            source[name, default: []].append(value)
        }
        for (name, texts) in source { values[name] = .texts(texts) }
    }

    private static func decode(
        _ bytes: ArraySlice<UInt8>, of name: String?
    ) throws(Failure) -> String {
        let shown = name ?? String(decoding: bytes.prefix(64), as: UTF8.self)
        guard let decoded = PercentEncoding.decode(bytes, plusIsSpace: true) else {
            throw .invalid(shown, "A percent-escape is malformed.")
        }
        guard let text = String(validating: decoded, as: UTF8.self) else {
            throw .invalid(shown, "The text is not UTF-8.")
        }
        return text
    }

    private mutating func addJSON(_ body: [UInt8]) throws(Failure) {
        let json: JSONValue
        do {
            json = try JSONValue(parsing: body)
        } catch {
            switch error {
            case .malformed(let offset):
                throw Failure(.invalidRequest, "The body is no JSON: see byte \(offset).")
            case .tooDeep:
                throw Failure(
                    .invalidRequest, "The body is nested over \(JSONValue.depthLimit) levels.")
            }
        }
        guard case .object(let members) = json else {
            throw Failure(.invalidRequest, "The body must be a JSON object.")
        }
        var seen: Set<String> = []
        for member in members {
            guard seen.insert(member.name).inserted else {
                throw .invalid(member.name, "The parameter is given twice.")
            }
            values[member.name] = .json(member.value)
        }
    }

    // MARK: - Typed access

    /// The text of the first of `names` that is given. A JSON null counts as absent.
    func text(_ names: String...) throws(Failure) -> String? {
        try text(anyOf: names)
    }

    /// As `text`, but its absence is a failure. An empty text is present.
    func requiredText(_ names: String...) throws(Failure) -> String {
        if let text = try text(anyOf: names) { return text }
        let name = names.first ?? ""
        throw .invalid(name, "The parameter \(name) is missing.")
    }

    /// The id that the first given of `names` holds.
    func id<Entity>(_ names: String...) throws(Failure) -> Identifier<Entity>? {
        try text(anyOf: names).map { Identifier($0) }
    }

    /// As `id`, but its absence is a failure.
    func requiredID<Entity>(_ names: String...) throws(Failure) -> Identifier<Entity> {
        if let text = try text(anyOf: names), !text.isEmpty { return Identifier(text) }
        let name = names.first ?? ""
        throw .invalid(name, "The parameter \(name) is missing.")
    }

    /// A text of one line, up to `limit` characters, that is not empty; without the space around it.
    func line(_ name: String, limit: Int) throws(Failure) -> String? {
        guard let given = try text(name) else { return nil }
        var line = given[...].drop(while: \.isWhitespace)
        while line.last?.isWhitespace == true { line.removeLast() }
        guard !line.isEmpty else { throw .invalid(name, "The parameter must not be empty.") }
        guard line.unicodeScalars.count <= limit else {
            throw .invalid(name, "The parameter has at most \(limit) characters.")
        }
        guard line.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control }) else {
            throw .invalid(name, "The parameter must not contain control characters.")
        }
        return String(line)
    }

    /// Which part of a list is wanted.
    func page() throws(Failure) -> Page {
        let limit = try integer("limit") ?? Int64(Page.defaultLimit)
        guard (1...Int64(Page.greatestLimit)).contains(limit) else {
            throw .invalid("limit", "The parameter is from 1 to \(Page.greatestLimit).")
        }
        let (before, after) = (try text("before"), try text("after"))
        switch (before, after) {
        case (nil, nil): return Page(limit: Int(limit))
        case (let id?, nil): return Page(limit: Int(limit), place: .before(id))
        case (nil, let id?): return Page(limit: Int(limit), place: .after(id))
        default: throw .invalid("before", "Give before or after, not both.")
        }
    }

    private func text(anyOf names: [String]) throws(Failure) -> String? {
        guard let (name, value) = first(of: names) else { return nil }
        switch value {
        case .texts(let texts): return try Self.storable(try Self.single(texts, name), name)
        case .json(.string(let text)): return try Self.storable(text, name)
        case .json: throw .invalid(name, "The parameter must be a string.")
        }
    }

    /// A whole number: decimal text or a JSON number.
    func integer(_ name: String) throws(Failure) -> Int64? {
        guard let (name, value) = first(of: [name]) else { return nil }
        let number: Int64? =
            switch value {
            case .texts(let texts): Int64(try Self.single(texts, name))
            case .json(let json): json.integerValue
            }
        guard let number else { throw .invalid(name, "The parameter must be a whole number.") }
        return number
    }

    /// A truth value: `true`, `1`, `false`, `0`, or JSON's own.
    func boolean(_ name: String) throws(Failure) -> Bool? {
        guard let (name, value) = first(of: [name]) else { return nil }
        switch value {
        case .json(.boolean(let flag)): return flag
        case .json(.number(let digits)) where digits == "0" || digits == "1": return digits == "1"
        case .json: break
        case .texts(let texts):
            switch try Self.single(texts, name).lowercased() {
            case "true", "1": return true
            case "false", "0": return false
            default: break
            }
        }
        throw .invalid(name, "The parameter must be true or false.")
    }

    /// Several texts: a field that repeats, a field separated by commas, or a JSON array.
    func list(_ name: String) throws(Failure) -> [String]? {
        guard let (name, value) = first(of: [name]) else { return nil }
        var texts: [String] = []
        switch value {
        case .texts(let fields):
            for field in fields { texts.append(try Self.storable(field, name)) }
        case .json(.string(let text)): texts = [try Self.storable(text, name)]
        case .json(.array(let elements)):
            for element in elements {
                guard case .string(let text) = element else {
                    throw .invalid(name, "The parameter must be a list of strings.")
                }
                texts.append(try Self.storable(text, name))
            }
            return texts
        case .json: throw .invalid(name, "The parameter must be a list of strings.")
        }
        return texts.flatMap { $0.split(separator: ",") }
            .map { String($0.drop { $0 == " " }) }.filter { !$0.isEmpty }
    }

    private func first(of names: [String]) -> (String, Value)? {
        for name in names {
            guard let value = values[name] else { continue }
            if case .json(.null) = value { continue }
            return (name, value)
        }
        return nil
    }

    /// Not every database takes a null character in a text.
    private static func storable(_ text: String, _ name: String) throws(Failure) -> String {
        guard !text.utf8.contains(0) else {
            throw .invalid(name, "The parameter must not contain null characters.")
        }
        return text
    }

    private static func single(_ texts: [String], _ name: String) throws(Failure) -> String {
        guard texts.count == 1, let text = texts.first else {
            throw .invalid(name, "The parameter is given twice.")
        }
        return text
    }
}
