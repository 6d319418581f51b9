internal import Formats
internal import Gateway

/// JSON Schemas (draft 2020-12, as OpenAPI 3.1 has them) of answers and parameters.
enum JSONSchema {
    static func reference(to name: String) -> JSONValue {
        ["$ref": .string("#/components/schemas/\(name)")]
    }

    /// One of these objects.
    static func reference(toOneOf objects: [ObjectSchema]) -> JSONValue {
        objects.count == 1
            ? reference(to: objects[0].name)
            : ["anyOf": .array(objects.map { reference(to: $0.name) })]
    }

    /// The definition of an object, which has no other members than these.
    static func definition(of schema: ObjectSchema) -> JSONValue {
        let required = schema.members.filter { !$0.isOptional }
        return object(
            ("type", "object"), ("description", .string(schema.meaning)),
            (
                "properties",
                .object(
                    schema.members.map { member in
                        (member.name, described(value(member.value), member.meaning))
                    })
            ),
            ("required", required.isEmpty ? nil : .array(required.map { .string($0.name) })),
            ("additionalProperties", false), ("example", schema.example))
    }

    /// The objects and all that they hold, each once.
    static func closure(of roots: [ObjectSchema]) -> [ObjectSchema] {
        var found: [ObjectSchema] = []
        func add(_ schema: ObjectSchema) {
            if found.contains(where: { $0.name == schema.name }) { return }
            found.append(schema)
            for member in schema.members { add(member.value) }
        }
        func add(_ value: ValueSchema) {
            switch value {
            case .object(let schema): add(schema)
            case .list(let element), .nullable(let element): add(element)
            default: break
            }
        }
        for root in roots { add(root) }
        return found.sorted { $0.name < $1.name }
    }

    private static func described(_ schema: JSONValue, _ meaning: String) -> JSONValue {
        guard case .object(let members) = schema else { return schema }
        return .object(members + [(name: "description", value: .string(meaning))])
    }

    private static func value(_ schema: ValueSchema) -> JSONValue {
        switch schema {
        case .text: ["type": "string"]
        case .id: ["type": "string", "format": "uuid"]
        case .time: ["type": "string", "format": "date-time"]
        case .boolean: ["type": "boolean"]
        case .integer: ["type": "integer"]
        case .choice(let texts): ["type": "string", "enum": .array(texts.map { .string($0) })]
        case .constant(let constant): ["const": constant]
        case .object(let schema): reference(to: schema.name)
        case .list(let element): ["type": "array", "items": value(element)]
        case .nullable(let element): nullable(value(element))
        }
    }

    private static func nullable(_ schema: JSONValue) -> JSONValue {
        guard case .object(let members) = schema, let type = schema["type"] else {
            return ["anyOf": [schema, ["type": "null"]]]
        }
        return .object(
            [(name: "type", value: [type, "null"])] + members.filter { $0.name != "type" })
    }

    // MARK: - Parameters

    /// The schema of a parameter's value.
    /// - Parameter keepsAbsent: whether nothing stands for a parameter that is absent.
    static func parameter(
        _ parameter: ParameterSpecification, keepsAbsent: Bool
    ) -> JSONValue {
        guard case .object(var members) = kind(parameter.kind) else { return .null }
        if !keepsAbsent, case .value(let value)? = parameter.defaultValue {
            members.append(("default", value))
        }
        return .object(members)
    }

    private static func kind(_ kind: ParameterSpecification.Kind) -> JSONValue {
        switch kind {
        case .text(let bytes, let characters):
            object(
                ("type", "string"), ("maxLength", (characters ?? bytes).map { .integer($0) }))
        case .line(_, let characters):
            ["type": "string", "minLength": 1, "maxLength": .integer(characters)]
        case .id: ["type": "string", "format": "uuid"]
        case .user: ["type": "string", "minLength": 1]
        case .integer(let range):
            [
                "type": "integer", "minimum": .integer(range.lowerBound),
                "maximum": .integer(range.upperBound),
            ]
        case .boolean: ["type": "boolean"]
        case .users(let limit):
            [
                "type": "array", "items": ["type": "string", "minLength": 1], "minItems": 1,
                "maxItems": .integer(limit),
            ]
        }
    }
}
