internal import Formats
package import ProxyGPT

// How endpoints read their parameters. The names that they ask for are those of their routes.

extension Parameters {
    /// The text of the first of `names` that is given.
    package func text(_ names: String...) throws(Failure) -> String? {
        try text(anyOf: names)?.text
    }

    /// As `text`, but its absence is a failure. An empty text is present.
    package func requiredText(_ names: String...) throws(Failure) -> String {
        if let text = try text(anyOf: names)?.text { return text }
        throw Self.missing(names)
    }

    /// The id that the first given of `names` holds. Throws `notFound` for what cannot be an id.
    /// - Parameter noun: what it is the id of; nil for what the last of `names` says, as `chat_id`.
    package func id<Entity>(_ names: String..., of noun: String? = nil) throws(Failure)
        -> Identifier<Entity>?
    {
        try identifier(anyOf: names, of: noun ?? Self.noun(names))
    }

    func identifier<Entity>(
        anyOf names: [String], of noun: String
    ) throws(Failure) -> Identifier<Entity>? {
        try text(anyOf: names).map { given throws(Failure) in
            try Self.identifier(given.text, given.name, noun)
        }
    }

    /// As `id`, but its absence is a failure.
    package func requiredID<Entity>(_ names: String...) throws(Failure) -> Identifier<Entity> {
        guard let given = try text(anyOf: names), !given.text.isEmpty else {
            throw Self.missing(names)
        }
        return try Self.identifier(given.text, given.name, Self.noun(names))
    }

    /// The user that the first given of `names` names, by id or name.
    package func user(_ names: String...) throws(Failure) -> UserReference? {
        try text(anyOf: names).map { UserReference($0.text, parameter: $0.name) }
    }

    /// As `user`, but its absence is a failure.
    package func requiredUser(_ names: String...) throws(Failure) -> UserReference {
        guard let given = try text(anyOf: names) else { throw Self.missing(names) }
        return UserReference(given.text, parameter: given.name)
    }

    /// A text of one line, up to `limit` characters and `bytes` bytes, that is not empty; without the
    /// space around it.
    package func line(_ name: String, limit: Int, bytes: Int? = nil) throws(Failure) -> String? {
        guard let given = try text(name) else { return nil }
        let bytes = bytes ?? 4 * limit
        let tooLong = Failure.invalid(name, "The parameter has at most \(limit) characters.")
        // Space around the text does not count, as long as it is not much.
        guard given.utf8.count <= bytes + 256 else { throw tooLong }
        let scalars = given.unicodeScalars
        guard let first = scalars.firstIndex(where: { !$0.properties.isWhitespace }),
            let last = scalars.lastIndex(where: { !$0.properties.isWhitespace })
        else { throw .invalid(name, "The parameter must not be empty.") }
        let line = scalars[first...last]
        guard line.count <= limit else { throw tooLong }
        let text = String(line)
        guard text.utf8.count <= bytes else {
            throw .invalid(name, "The parameter has at most \(bytes) bytes.")
        }
        guard line.allSatisfy({ $0.properties.generalCategory != .control }) else {
            throw .invalid(name, "The parameter must not contain control characters.")
        }
        return text
    }

    /// A whole number: decimal digits or a JSON number.
    package func integer(_ name: String) throws(Failure) -> Int64? {
        guard let (name, value) = first(of: [name]) else { return nil }
        let number: Int64?
        switch value {
        case .texts(let texts):
            let text = try Self.single(texts, name)
            number = text.utf8.decimalNumber
        case .json(let json): number = json.integerValue
        }
        guard let number else { throw .invalid(name, "The parameter must be a whole number.") }
        return number
    }

    /// A truth value: `true`, `1`, `false`, `0`, or JSON's own.
    package func boolean(_ name: String) throws(Failure) -> Bool? {
        guard let (name, value) = first(of: [name]) else { return nil }
        switch value {
        case .json(.boolean(let flag)): return flag
        case .json(.number(let digits)):
            if digits.hasSameBytes(as: "1") { return true }
            if digits.hasSameBytes(as: "0") { return false }
        case .json: break
        case .texts(let texts):
            let text = try Self.single(texts, name)
            if ["true", "1"].contains(where: { equalIgnoringCase($0, text) }) { return true }
            if ["false", "0"].contains(where: { equalIgnoringCase($0, text) }) { return false }
        }
        throw .invalid(name, "The parameter must be true or false.")
    }

    /// Several texts: a field that repeats, a field separated by commas, or a JSON array.
    package func list(_ name: String) throws(Failure) -> [String]? {
        guard let (name, value) = first(of: [name]) else { return nil }
        switch value {
        case .texts(let fields): return try Self.separated(fields, name)
        case .json(.string(let text)): return try Self.separated([text], name)
        case .json(.array(let elements)):
            return try elements.map { element throws(Failure) in
                guard case .string(let text) = element else {
                    throw .invalid(name, "The parameter must be a list of strings.")
                }
                return try Self.storable(text, name)
            }
        case .json: throw .invalid(name, "The parameter must be a list of strings.")
        }
    }

    /// What stands between commas, without the blanks around it and the empty parts.
    private static func separated(
        _ fields: [String], _ name: String
    ) throws(Failure) -> [String] {
        var texts: [String] = []
        for field in fields {
            var field = try storable(field, name)
            let room = fieldLimit - texts.count
            let parts = field.withUTF8 { Self.parts(of: $0, atMost: room) }
            guard let parts else {
                throw .invalid(name, "The parameter has more than \(fieldLimit) parts.")
            }
            texts += parts
        }
        return texts
    }

    /// Nil where there are too many, the empty ones aside.
    private static func parts(
        of field: UnsafeBufferPointer<UInt8>, atMost limit: Int
    ) -> [String]? {
        var parts: [String] = []
        var start = 0
        while start < field.count {
            switch field[start] {
            case UInt8(ascii: ","), 0x20, 0x09: start += 1
            default:
                guard parts.count < limit else { return nil }
                let end = field[start...].firstIndex(of: UInt8(ascii: ",")) ?? field.count
                parts.append(
                    String(decoding: field[start..<end].withoutOuterBlanks, as: UTF8.self))
                start = end + 1
            }
        }
        return parts
    }

    // MARK: - Parts

    func text(anyOf names: [String]) throws(Failure) -> (name: String, text: String)? {
        guard let (name, value) = first(of: names) else { return nil }
        switch value {
        case .texts(let texts):
            return (name, try Self.storable(try Self.single(texts, name), name))
        case .json(.string(let text)): return (name, try Self.storable(text, name))
        case .json: throw .invalid(name, "The parameter must be a string.")
        }
    }

    private static func identifier<Entity>(
        _ text: String, _ name: String, _ noun: String
    ) throws(Failure) -> Identifier<Entity> {
        guard let id = Identifier<Entity>(outside: text) else {
            throw Failure(.notFound, "There is no \(noun) with this id.", parameter: name)
        }
        return id
    }

    static func missing(_ names: [String]) -> Failure {
        let name = names.first ?? ""
        return .invalid(name, "The parameter \(name) is missing.")
    }

    /// What `chat_id` is the id of: a chat.
    private static func noun(_ names: [String]) -> String {
        String((names.last ?? "").beginning(before: "_"))
    }

    /// Not every database takes a null character in a text.
    private static func storable(_ text: String, _ name: String) throws(Failure) -> String {
        var bytes = text
        // In place: through the text's own view a mebibyte takes over a millisecond more.
        guard !bytes.withUTF8({ $0.contains(0) }) else {
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
