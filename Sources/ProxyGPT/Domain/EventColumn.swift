/// A column of the audit log.
///
/// `all` is the only list of them: the statements of both engines, the reading of records and the
/// exports are made from it. A new column is a member of `Event`, one of `EventRecord`, a line here and
/// a migration.
package struct EventColumn: Sendable {
    /// When a row gets the value.
    package enum Moment: Sendable {
        /// With the row, which is known by it.
        case key
        /// With the row, for good.
        case opening
        /// With the row, and once more when the row is closed.
        case closing
    }

    /// The value of an event that is written.
    package enum Value: Sendable {
        case text(@Sendable (Event) -> String?)
        case number(@Sendable (Event) -> Int64?)
    }

    /// The member of a record that is read.
    package enum Field: Sendable {
        case text(any WritableKeyPath<EventRecord, String> & Sendable)
        case optionalText(any WritableKeyPath<EventRecord, String?> & Sendable)
        case number(any WritableKeyPath<EventRecord, Int64> & Sendable)
        case optionalNumber(any WritableKeyPath<EventRecord, Int64?> & Sendable)
        case timestamp(any WritableKeyPath<EventRecord, Timestamp> & Sendable)
    }

    package let name: String
    package let moment: Moment
    package let value: Value
    package let field: Field

    private init(_ name: String, _ moment: Moment, _ value: Value, _ field: Field) {
        self.name = name
        self.moment = moment
        self.value = value
        self.field = field
    }

    /// The columns in the order of records and exports. The table has the process besides, which its
    /// writer knows.
    package static let all = [
        EventColumn("id", .key, .text({ $0.id.text }), .text(\.id)),
        EventColumn(
            "timestamp", .opening, .number({ $0.timestamp.milliseconds }),
            .timestamp(\.timestamp)),
        EventColumn("type", .closing, .text({ $0.kind.rawValue }), .text(\.kind)),
        EventColumn("request_id", .opening, .text({ $0.requestID }), .text(\.requestID)),
        EventColumn("client_ip", .opening, .text({ $0.clientAddress }), .text(\.clientAddress)),
        EventColumn("method", .opening, .text({ $0.method }), .text(\.method)),
        EventColumn("path", .opening, .text({ $0.path }), .text(\.path)),
        EventColumn(
            "status", .closing, .number({ $0.status.map(Int64.init) }),
            .optionalNumber(\.status)),
        EventColumn(
            "duration_us", .closing, .number({ $0.durationMicroseconds }),
            .optionalNumber(\.durationMicroseconds)),
        EventColumn("user_id", .closing, .text({ $0.userID?.text }), .optionalText(\.userID)),
        EventColumn("chat_id", .closing, .text({ $0.chatID }), .optionalText(\.chatID)),
        EventColumn("group_id", .closing, .text({ $0.groupID }), .optionalText(\.groupID)),
        EventColumn("model", .closing, .text({ $0.model }), .optionalText(\.model)),
        EventColumn(
            "prompt_tokens", .closing, .number({ $0.promptTokens }),
            .optionalNumber(\.promptTokens)),
        EventColumn(
            "completion_tokens", .closing, .number({ $0.completionTokens }),
            .optionalNumber(\.completionTokens)),
        EventColumn(
            "upstream_status", .closing, .number({ $0.upstreamStatus.map(Int64.init) }),
            .optionalNumber(\.upstreamStatus)),
        EventColumn(
            "upstream_us", .closing, .number({ $0.upstreamMicroseconds }),
            .optionalNumber(\.upstreamMicroseconds)),
        EventColumn(
            "upstream_request_id", .closing, .text({ $0.upstreamRequestID }),
            .optionalText(\.upstreamRequestID)),
        EventColumn("bytes_in", .closing, .number({ $0.bytesIn }), .number(\.bytesIn)),
        EventColumn("bytes_out", .closing, .number({ $0.bytesOut }), .number(\.bytesOut)),
        EventColumn("end", .closing, .text({ $0.end?.rawValue }), .optionalText(\.end)),
        EventColumn("detail", .closing, .text({ $0.detail }), .optionalText(\.detail)),
    ]
}

/// A row of the audit log with its texts unchecked.
package struct EventRecord: Sendable, Equatable {
    package var id = ""
    package var timestamp = Timestamp(milliseconds: 0)
    package var kind = ""
    package var requestID = ""
    package var clientAddress = ""
    package var method = ""
    package var path = ""
    package var status: Int64?
    package var durationMicroseconds: Int64?
    package var userID: String?
    package var chatID: String?
    package var groupID: String?
    package var model: String?
    package var promptTokens: Int64?
    package var completionTokens: Int64?
    package var upstreamStatus: Int64?
    package var upstreamMicroseconds: Int64?
    package var upstreamRequestID: String?
    package var bytesIn: Int64 = 0
    package var bytesOut: Int64 = 0
    package var end: String?
    package var detail: String?

    package init() {}
}
