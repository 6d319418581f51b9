internal import Formats
package import ProxyGPT

/// The parameters of a request to an endpoint of our own: query string, then form body, then JSON
/// body; later wins. The endpoint says which names it knows, and no other is taken.
///
/// Everything here is bytes with a bound: names from outside are never hashed, and compared with known
/// ones alone.
package struct Parameters: Sendable {
    enum Value: Sendable {
        /// From a query or form: all that were given under the name, in order.
        case texts([String])
        case json(JSONValue)
    }

    /// The longest name, in bytes.
    private static let nameLimit = 64
    /// How many fields one query or form may have, and how many values a JSON body.
    package static let fieldLimit = 2048

    private let names: [String]
    /// What was given under each of the names.
    private var values: [Value?]

    /// Throws `invalidRequest` for what is malformed or unknown, naming the parameter where there is
    /// one, and `unsupportedMediaType` for a body of another type.
    /// - Parameter names: the names that the endpoint knows.
    package init(
        _ names: [String], query: [UInt8]? = nil, body: [UInt8] = [], contentType: String? = nil
    ) throws(Failure) {
        self.names = names
        values = Array(repeating: nil, count: names.count)
        if let query { try addForm(query, isQuery: true) }
        guard let first = Self.firstByte(of: body) else { return }
        let type = String((contentType ?? "").beginning(before: ";").withoutOuterBlanks)
        // curl -d '{…}' labels JSON as a form.
        if equalIgnoringCase(type, "application/json") || first == UInt8(ascii: "{") {
            try addJSON(body)
        } else if type.isEmpty || equalIgnoringCase(type, "application/x-www-form-urlencoded") {
            try addForm(body, isQuery: false)
        } else {
            throw Failure(
                .unsupportedMediaType,
                "Send application/json or application/x-www-form-urlencoded.")
        }
    }

    /// The first byte that is no white space.
    private static func firstByte(of body: [UInt8]) -> UInt8? {
        body.first { byte in
            switch byte {
            case 0x20, 0x09, 0x0A, 0x0D: false
            default: true
            }
        }
    }

    // MARK: - Forms

    private mutating func addForm(_ form: [UInt8], isQuery: Bool) throws(Failure) {
        var given = [[String]](repeating: [], count: names.count)
        var count = 0
        var start = 0
        while start < form.count {
            let end = form[start...].firstIndex(of: UInt8(ascii: "&")) ?? form.count
            let pair = form[start..<end]
            start = end + 1
            if pair.isEmpty { continue }
            count += 1
            guard count <= Self.fieldLimit else {
                throw Failure(.invalidRequest, "There are more than \(Self.fieldLimit) fields.")
            }
            let rawName = pair.prefix { $0 != UInt8(ascii: "=") }
            let name = try Self.name(rawName)
            // Browsers' libraries add such a name, so that no cache answers.
            if isQuery, name.first == UInt8(ascii: "_") { continue }
            guard let index = index(of: name) else { throw unknown(name) }
            given[index].append(
                try Self.decode(pair.dropFirst(rawName.count + 1), of: names[index]))
        }
        for (index, texts) in given.enumerated() where !texts.isEmpty {
            values[index] = .texts(texts)
        }
    }

    /// Decodes a name. Throws where it is none: longer than allowed, or not printing ASCII.
    private static func name(_ raw: ArraySlice<UInt8>) throws(Failure) -> [UInt8] {
        // Every byte may come as an escape of three.
        guard raw.count <= 3 * nameLimit else { throw badName(raw) }
        guard let name = PercentEncoding.decode(raw, plusIsSpace: true) else {
            throw .invalid(String(quoting: raw), "A percent-escape is malformed.")
        }
        guard isName(name) else { throw badName(raw) }
        return name
    }

    private static func isName(_ name: some Collection<UInt8>) -> Bool {
        name.count <= nameLimit && name.allSatisfy { (0x20..<0x7F).contains($0) }
    }

    private static func badName(_ name: some Collection<UInt8>) -> Failure {
        .invalid(
            String(quoting: name),
            "A parameter's name has at most \(nameLimit) bytes, all of them ASCII.")
    }

    private static func decode(
        _ bytes: ArraySlice<UInt8>, of name: String
    ) throws(Failure) -> String {
        guard let decoded = PercentEncoding.decode(bytes, plusIsSpace: true) else {
            throw .invalid(name, "A percent-escape is malformed.")
        }
        guard let text = String(validating: decoded, as: UTF8.self) else {
            throw .invalid(name, "The text is not UTF-8.")
        }
        return text
    }

    // MARK: - JSON

    private mutating func addJSON(_ body: [UInt8]) throws(Failure) {
        guard case .object(let members) = try Self.parsed(body) else {
            throw Failure(.invalidRequest, "The body must be a JSON object.")
        }
        var seen = [Bool](repeating: false, count: names.count)
        for member in members {
            let name = member.name.utf8
            guard Self.isName(name) else { throw Self.badName(name) }
            let isNull = if case .null = member.value { true } else { false }
            guard let index = index(of: name) else {
                // Null counts as absent.
                if isNull { continue }
                throw unknown(name)
            }
            guard !seen[index] else {
                throw .invalid(names[index], "The parameter is given twice.")
            }
            seen[index] = true
            if !isNull { values[index] = .json(member.value) }
        }
    }

    private static func parsed(_ body: [UInt8]) throws(Failure) -> JSONValue {
        do {
            return try JSONValue(parsing: body, valueLimit: fieldLimit)
        } catch {
            let problem =
                switch error {
                case .malformed(let offset): "is no JSON: see byte \(offset)"
                case .tooDeep: "is nested over \(JSONValue.depthLimit) levels"
                case .tooMany: "has more than \(fieldLimit) values"
                }
            throw Failure(.invalidRequest, "The body \(problem).")
        }
    }

    // MARK: - Names

    private func index(of name: some Collection<UInt8>) -> Int? {
        names.firstIndex { $0.utf8.count == name.count && $0.utf8.elementsEqual(name) }
    }

    private func unknown(_ name: some Collection<UInt8>) -> Failure {
        let name = String(quoting: name)
        let meant = nearestName(to: name, among: names).map { " Did you mean \($0)?" } ?? ""
        return .invalid(name, "The parameter \(name) is unknown here.\(meant)")
    }

    /// What was given under the first of `names` that was given, with that name.
    func first(of names: [String]) -> (name: String, value: Value)? {
        for name in names {
            let index = index(of: name.utf8)
            assert(index != nil, "the endpoint's route does not name the parameter \(name)")
            if let index, let value = values[index] { return (name, value) }
        }
        return nil
    }
}
