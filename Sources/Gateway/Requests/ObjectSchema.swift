// What answers are made of. The document of the API is written from these descriptions, and `View` makes the
// answers of the domain's nouns from them too, so that a member stands in one place.

package import Formats

/// What a member of an answer may be.
package indirect enum ValueSchema: Sendable {
    case text
    /// A UUID.
    case id
    /// A moment in RFC 3339, UTC, with milliseconds.
    case time
    case boolean
    case integer
    /// One of these texts.
    case choice([String])
    /// This value and no other.
    case constant(JSONValue)
    case object(ObjectSchema)
    case list(ValueSchema)
    /// Such a value, or null.
    case nullable(ValueSchema)
}

/// One member of an object.
package struct MemberSchema: Sendable {
    package let name: String
    package let value: ValueSchema
    /// Whether the member may be missing.
    package let isOptional: Bool
    /// One sentence.
    package let meaning: String
    package let example: JSONValue

    init(
        _ name: String, _ value: ValueSchema, isOptional: Bool = false, _ meaning: String,
        _ example: JSONValue
    ) {
        self.name = name
        self.value = value
        self.isOptional = isOptional
        self.meaning = meaning
        self.example = example
    }

    /// A member that is an object, whose example is the object's own.
    init(_ name: String, _ object: ObjectSchema, _ meaning: String) {
        self.init(name, .object(object), meaning, object.example)
    }

    /// A member that is a list of objects.
    init(_ name: String, listOf object: ObjectSchema, _ meaning: String) {
        self.init(name, .list(.object(object)), meaning, .array([object.example]))
    }
}

/// An object in an answer. It has these members and no others.
package struct ObjectSchema: Sendable {
    package let name: String
    /// One sentence.
    package let meaning: String
    package let members: [MemberSchema]

    init(_ name: String, _ meaning: String, _ members: [MemberSchema]) {
        self.name = name
        self.meaning = meaning
        self.members = members
    }

    /// An example with the members that are always there.
    package var example: JSONValue {
        .object(members.filter { !$0.isOptional }.map { ($0.name, $0.example) })
    }

    /// The same object under another name, with further members.
    func named(_ name: String, _ meaning: String, adding more: [MemberSchema] = [])
        -> ObjectSchema
    {
        ObjectSchema(name, meaning, members + more)
    }
}

/// How an object of the domain becomes JSON for callers: its members, and where their values come from.
package struct View<Subject>: Sendable {
    struct Member: Sendable {
        let schema: MemberSchema
        /// Nil leaves an optional member out.
        let value: @Sendable (Subject) -> JSONValue?

        init(
            _ name: String, _ schema: ValueSchema, isOptional: Bool = false, _ meaning: String,
            _ example: JSONValue, _ value: @escaping @Sendable (Subject) -> JSONValue?
        ) {
            self.init(
                MemberSchema(name, schema, isOptional: isOptional, meaning, example), value)
        }

        private init(
            _ schema: MemberSchema, _ value: @escaping @Sendable (Subject) -> JSONValue?
        ) {
            self.schema = schema
            self.value = value
        }

        /// The same member of an object that holds the subject.
        func inside<Whole>(_ part: @escaping @Sendable (Whole) -> Subject) -> View<Whole>.Member {
            View<Whole>.Member(schema) { value(part($0)) }
        }
    }

    package let schema: ObjectSchema
    private let parts: [Member]

    init(_ name: String, _ meaning: String, _ members: [Member]) {
        schema = ObjectSchema(name, meaning, members.map(\.schema))
        parts = members
    }

    /// The members with their values, in order.
    package func members(of subject: Subject) -> [(name: String, value: JSONValue)] {
        var members: [(name: String, value: JSONValue)] = []
        members.reserveCapacity(parts.count)
        for part in parts {
            if let value = part.value(subject) { members.append((part.schema.name, value)) }
        }
        return members
    }

    package func json(of subject: Subject) -> JSONValue { .object(members(of: subject)) }
}
