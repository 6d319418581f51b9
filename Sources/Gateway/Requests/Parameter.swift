package import Formats
package import ProxyGPT

/// One parameter of an endpoint: its names, what it may be and what it means. What is wrong with a given
/// value is found out, and said, by the parameter itself.
package struct Parameter<Value: Sendable>: Sendable {
    package let specification: ParameterSpecification
    /// Reads the value; nil where none of the names is given.
    let read: @Sendable (Parameters) throws(Failure) -> Value?

    fileprivate init(
        _ names: [String], _ kind: ParameterSpecification.Kind, _ notes: ParameterNotes,
        _ read: @escaping @Sendable (Parameters, _ names: [String]) throws(Failure) -> Value?
    ) {
        specification = ParameterSpecification(names: names, kind: kind, notes: notes)
        self.read = { parameters throws(Failure) in try read(parameters, names) }
    }
}

/// A parameter of any type of value, as an endpoint's entry names it.
package protocol SpecifiedParameter: Sendable {
    var specification: ParameterSpecification { get }
}

extension Parameter: SpecifiedParameter {}

/// What is said of a parameter wherever the API is described.
package struct ParameterSpecification: Sendable {
    /// What a value may be.
    package enum Kind: Sendable, Equatable {
        /// A text of at most so many bytes, and characters where that is said.
        case text(bytes: Int?, characters: Int? = nil)
        /// A text of one line that is not empty.
        case line(bytes: Int, characters: Int)
        /// A UUID.
        case id
        /// A user's id or name.
        case user
        case integer(ClosedRange<Int>)
        case boolean
        /// Users' ids or names, at most so many.
        case users(limit: Int)
    }

    /// All names that are taken; the first one is the one to use.
    package let names: [String]
    package let kind: Kind
    private let notes: ParameterNotes

    fileprivate init(names: [String], kind: Kind, notes: ParameterNotes) {
        self.names = names
        self.kind = kind
        self.notes = notes
    }

    package var name: String { names[0] }
    /// One sentence.
    package var meaning: String { notes.meaning }
    /// What counts where the parameter is absent; nil where nothing does. Endpoints that change an object
    /// leave alone what is absent.
    package var defaultValue: ParameterNotes.Default? { notes.defaultValue }
    package var example: JSONValue { notes.example }
}

/// What documents say of a parameter beside its names and its kind.
package struct ParameterNotes: Sendable {
    package enum Default: Sendable {
        case value(JSONValue)
        /// A setting's value, or another noun that depends on the call.
        case described(String)
    }

    let meaning: String
    let defaultValue: Default?
    let example: JSONValue

    package init(_ meaning: String, example: JSONValue, default defaultValue: Default? = nil) {
        self.meaning = meaning
        self.example = example
        self.defaultValue = defaultValue
    }
}

extension Parameters {
    /// The value of a parameter; nil where it is not given. Throws what is wrong with it.
    package func value<Value>(of parameter: Parameter<Value>) throws(Failure) -> Value? {
        try parameter.read(self)
    }

    /// As `value(of:)`, but its absence is a failure. An empty text is present, an empty id is not.
    package func required<Value>(_ parameter: Parameter<Value>) throws(Failure) -> Value {
        let names = parameter.specification.names
        if parameter.specification.kind == .id, try text(anyOf: names)?.text.isEmpty == true {
            throw Self.missing(names)
        }
        guard let value = try parameter.read(self) else { throw Self.missing(names) }
        return value
    }
}

// MARK: - Kinds

extension Parameter where Value == String {
    /// A text as it is given; what of it is wrong is for `check` to say.
    package static func text(
        _ names: String..., bytes: Int? = nil, characters: Int? = nil, notes: ParameterNotes,
        check: @escaping @Sendable (String, _ name: String) throws(Failure) -> Void = { _, _ in }
    ) -> Self {
        Self(names, .text(bytes: bytes, characters: characters), notes) {
            parameters, names throws(Failure) in
            guard let given = try parameters.text(anyOf: names) else { return nil }
            try check(given.text, given.name)
            return given.text
        }
    }

    /// A text of one line that is not empty, without the space around it.
    static func line(
        _ name: String, characters: Int, bytes: Int? = nil, _ notes: ParameterNotes
    ) -> Self {
        Self([name], .line(bytes: bytes ?? 4 * characters, characters: characters), notes) {
            parameters, _ throws(Failure) in
            try parameters.line(name, limit: characters, bytes: bytes)
        }
    }
}

extension Parameter where Value == String {
    /// The id of an element of a list.
    static func anchor(_ name: String, _ notes: ParameterNotes) -> Self {
        Self([name], .id, notes) { parameters, names throws(Failure) in
            guard let given = try parameters.text(anyOf: names) else { return nil }
            guard UUIDText.isShaped(given.text) else {
                throw .invalid(name, "The parameter must be an id.")
            }
            return given.text
        }
    }
}

extension Parameter {
    /// An id. Throws `notFound` for what cannot be one.
    /// - Parameter noun: what it is the id of.
    static func id<Entity>(
        _ names: String..., of noun: String, _ notes: ParameterNotes
    ) -> Self where Value == Identifier<Entity> {
        Self(names, .id, notes) { parameters, names throws(Failure) in
            try parameters.identifier(anyOf: names, of: noun)
        }
    }
}

extension Parameter where Value == UserReference {
    /// A user by id or name.
    static func user(_ names: String..., notes: ParameterNotes) -> Self {
        Self(names, .user, notes) { parameters, names throws(Failure) in
            try parameters.text(anyOf: names).map { UserReference($0.text, parameter: $0.name) }
        }
    }
}

extension Parameter where Value == Username {
    /// A user name that may be taken.
    static func username(_ name: String, _ notes: ParameterNotes) -> Self {
        Self([name], .text(bytes: Username.limit), notes) { parameters, names throws(Failure) in
            guard let given = try parameters.text(anyOf: names) else { return nil }
            return try Username(given.text)
        }
    }
}

extension Parameter where Value == [UserReference] {
    /// Several users by id or name: a field that repeats, a field with commas or a JSON array.
    static func users(_ name: String, limit: Int, _ notes: ParameterNotes) -> Self {
        Self([name], .users(limit: limit), notes) { parameters, names throws(Failure) in
            guard let texts = try parameters.list(name), !texts.isEmpty else { return nil }
            guard texts.count <= limit else {
                throw .invalid(name, "One request may name \(limit) users.")
            }
            return texts.map { UserReference($0, parameter: name) }
        }
    }
}

extension Parameter where Value == Int {
    /// A whole number of a range.
    static func integer(
        _ name: String, _ range: ClosedRange<Int>, _ notes: ParameterNotes
    ) -> Self {
        Self([name], .integer(range), notes) { parameters, names throws(Failure) in
            guard let number = try parameters.integer(name) else { return nil }
            guard let value = Int(exactly: number), range.contains(value) else {
                throw .invalid(
                    name, "The parameter is from \(range.lowerBound) to \(range.upperBound).")
            }
            return value
        }
    }
}

extension Parameter where Value == Bool {
    /// A truth value.
    static func boolean(_ name: String, _ notes: ParameterNotes) -> Self {
        Self([name], .boolean, notes) { parameters, names throws(Failure) in
            try parameters.boolean(name)
        }
    }
}
