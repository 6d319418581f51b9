import Formats

/// `GET /v1/models` and `GET /v1/models/ID`.
enum ModelAnswers {
    private static let names = [
        "mock", "gpt-4o", "gpt-4o-mini", "gpt-4", "gpt-3.5-turbo", "text-embedding-3-small",
    ]

    static func list(_ behaviour: Behaviour) -> Answer {
        var members: JSONValue = ["object": "list", "data": .array(names.map(object))]
        members.addFiller(behaviour)
        return Answer(members)
    }

    /// Any model exists unless its name begins with `missing`.
    static func model(_ call: Call, _ behaviour: Behaviour) throws(Refusal) -> Answer {
        let raw = call.route.segments.dropFirst().joined(separator: "/")
        guard let name = percentDecoded(raw[...]) else {
            throw Refusal(status: 400, message: "The model's name is not valid percent-encoding")
        }
        try checkExists(name)
        var members = object(name)
        members.addFiller(behaviour)
        return Answer(members)
    }

    static func checkExists(_ name: String) throws(Refusal) {
        guard name.hasPrefix("missing") else { return }
        throw Refusal(
            status: 404,
            message: "The model `\(name)` does not exist or you do not have access "
                + "to it.",
            parameter: "model", code: "model_not_found")
    }

    private static func object(_ name: String) -> JSONValue {
        [
            "id": .string(name), "object": "model", "created": .integer(Endpoints.created),
            "owned_by": "mock",
        ]
    }
}

extension JSONValue {
    /// Adds a member of as many bytes as the call asked for.
    mutating func addFiller(_ behaviour: Behaviour) {
        guard let count = behaviour.bytes, case .object(let members) = self else { return }
        let filler = JSONValue.string(String(repeating: "x", count: count))
        self = .object(members + [("filler", filler)])
    }
}
