// What callers get to see of the domain: the one place where its fields become JSON.

package import Formats
package import ProxyGPT

extension JSONValue {
    static func time(_ moment: Timestamp) -> JSONValue {
        .string(moment.description)
    }

    /// An id, or null for nil.
    package static func id<Entity>(_ id: Identifier<Entity>?) -> JSONValue {
        .text(id?.text)
    }

    static func number(_ value: Int64?) -> JSONValue {
        value.map { .integer($0) } ?? .null
    }
}

extension User {
    /// What others may know.
    package var publicView: JSONValue {
        [
            "id": .id(id), "username": .string(username), "first_name": .string(firstName),
            "last_name": .string(lastName),
        ]
    }

    /// What the user itself may know.
    package func fullView(groups: [String]?) -> JSONValue {
        let groups = groups ?? []
        return [
            "id": .id(id), "username": .string(username), "first_name": .string(firstName),
            "last_name": .string(lastName), "role": .string(role.rawValue),
            "created_at": .time(createdAt), "updated_at": .time(updatedAt),
            "groups": .array(groups.map { .string($0) }),
        ]
    }
}

extension Session {
    package var view: JSONValue {
        [
            "id": .id(id), "created_at": .time(createdAt), "last_used_at": .time(lastUsedAt),
            "expires_at": .time(expiresAt),
        ]
    }
}

extension Chat {
    package var view: JSONValue {
        [
            "id": .id(id), "name": .string(name), "model": .string(model), "user_id": .id(userID),
            "group_id": .id(groupID), "created_at": .time(createdAt),
            "updated_at": .time(updatedAt),
        ]
    }
}

extension Group {
    package var members: [(name: String, value: JSONValue)] {
        [
            ("id", .id(id)), ("name", .string(name)), ("description", .string(description)),
            ("owner_id", .id(ownerID)), ("created_at", .time(createdAt)),
            ("updated_at", .time(updatedAt)),
        ]
    }

    package var view: JSONValue { .object(members) }
}

extension Message {
    /// The whole message, as endpoints and last frames show it.
    package var view: JSONValue {
        [
            "id": .id(id), "chat_id": .id(chatID), "user_id": .id(userID),
            "username": .text(username), "group_id": .id(groupID), "prompt": .string(prompt),
            "reply": .string(reply),
            "model": .string(model), "otr": .boolean(isOffRecord),
            "state": .string(state.rawValue), "error": failure?.view ?? .null,
            "usage": usage?.view ?? .null, "created_at": .time(createdAt),
            "updated_at": .time(updatedAt),
        ]
    }
}

extension ReplyFailure {
    fileprivate var view: JSONValue {
        var members: [(name: String, value: JSONValue)] = [
            ("code", .string(failure.codeText)), ("message", .string(message)),
        ]
        if let words = upstream?.message { members.append(("upstream_message", .string(words))) }
        return .object(members)
    }
}

extension Usage {
    fileprivate var view: JSONValue {
        [
            "prompt_tokens": .number(promptTokens),
            "completion_tokens": .number(completionTokens),
        ]
    }
}
