internal import Formats
internal import ProxyGPT

// The JSON of domain values in the output of commands. It has no hash and no token.

extension Account {
    var json: JSONValue {
        [
            "id": .string(user.id.text), "username": .string(user.username),
            "first_name": .string(user.firstName), "last_name": .string(user.lastName),
            "role": .string(user.role.rawValue), "disabled_at": .text(disabledAt?.description),
            "created_at": .string(user.createdAt.description),
            "updated_at": .string(user.updatedAt.description),
            "sessions": .integer(openSessions), "last_used_at": .text(lastUsedAt?.description),
        ]
    }

    var personalName: String {
        [user.firstName, user.lastName].filter { !$0.isEmpty }.joined(separator: " ")
    }
}

extension OpenSession {
    var json: JSONValue {
        [
            "id": .string(session.id.text), "user_id": .string(session.userID.text),
            "username": .string(username), "created_at": .string(session.createdAt.description),
            "last_used_at": .string(session.lastUsedAt.description),
            "expires_at": .string(session.expiresAt.description),
        ]
    }
}

extension ChatSummary {
    var json: JSONValue {
        [
            "id": .string(chat.id.text), "name": .string(chat.name), "model": .string(chat.model),
            "user_id": .string(chat.userID.text), "username": .string(username),
            "group_id": .text(chat.groupID?.text), "group_name": .text(groupName),
            "messages": .integer(messages), "created_at": .string(chat.createdAt.description),
            "updated_at": .string(chat.updatedAt.description),
        ]
    }
}

extension Message {
    /// - Parameter showsAll: whether off-the-record text is shown as well.
    func json(showsAll: Bool) -> JSONValue {
        let isShown = showsAll || !isOffRecord
        return [
            "id": .string(id.text), "seq": .integer(seq), "user_id": .string(userID.text),
            "username": .text(username),
            "prompt": isShown ? .string(prompt) : .null, "reply": isShown ? .string(reply) : .null,
            "model": .string(model), "otr": .boolean(isOffRecord),
            "state": .string(state.rawValue), "error": .text(failure?.message),
            "prompt_tokens": .optional(usage?.promptTokens),
            "completion_tokens": .optional(usage?.completionTokens),
            "created_at": .string(createdAt.description),
            "updated_at": .string(updatedAt.description),
        ]
    }
}

extension EventRecord {
    /// Names of the fields, in the order of `texts`.
    static let fields = EventColumn.all.map(\.name)

    private var values: [JSONValue] {
        EventColumn.all.map { column in
            switch column.field {
            case .text(let field): .string(self[keyPath: field])
            case .optionalText(let field): .text(self[keyPath: field])
            case .number(let field): .integer(self[keyPath: field])
            case .optionalNumber(let field): .optional(self[keyPath: field])
            case .timestamp(let field): .string(self[keyPath: field].description)
            }
        }
    }

    var json: JSONValue {
        .object(zip(Self.fields, values).map { (name: $0, value: $1) })
    }

    /// The values as texts, nil for those that are absent.
    var texts: [String?] {
        values.map { value in
            switch value {
            case .string(let text), .number(let text): text
            default: nil
            }
        }
    }
}

extension JSONValue {
    static func optional(_ value: Int64?) -> JSONValue {
        value.map { .integer($0) } ?? .null
    }

    static func list(_ elements: some Sequence<JSONValue>) -> JSONValue {
        .array(Array(elements))
    }
}

extension Timestamp {
    /// To the second, for tables.
    var short: String {
        let blank = UInt8(ascii: " ")
        let characters = description.utf8.prefix(19).map { $0 == UInt8(ascii: "T") ? blank : $0 }
        return String(decoding: characters, as: UTF8.self)
    }
}
