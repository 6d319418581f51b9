// One group of events as one statement: whatever their number, one round trip and one commit.

internal import ProxyGPT

/// Gathers the rows of one group.
struct PostgresEvents {
    /// Rows to be added; a call that opened and closed within the group is one.
    private(set) var added: [Event] = []
    /// Where a row stands in `added`.
    private var places: [Event.ID: Int] = [:]
    /// Rows to be closed.
    private(set) var closed: [Event] = []
    /// Ids of those that are in both.
    private(set) var doubtful: Set<String> = []
    private let process: String

    init(process: String) {
        self.process = process
    }

    mutating func add(_ event: Event) {
        guard let index = places[event.id] else {
            places[event.id] = added.count
            added.append(event)
            return
        }
        var event = event
        event.requestBody = event.requestBody ?? added[index].requestBody
        event.responseBody = event.responseBody ?? added[index].responseBody
        added[index] = event
    }

    mutating func close(_ event: Event) {
        closed.append(event)
    }

    /// Closes a row of which nobody knows whether it has been added, or adds it whole.
    mutating func addOrClose(_ event: Event) {
        doubtful.insert(event.id.text)
        closed.append(event)
        add(event)
    }

    var count: Int { added.count + closed.count - doubtful.count }

    /// Adds and closes the rows and returns the ids of those that it could: not of added ones that were
    /// there already, nor of ones to be closed that are not this process's any more.
    var statement: PostgresStatement {
        var parameters = PostgresParameters()
        parameters.append(text: process)
        var parts: [String] = []
        var results: [String] = []
        if !added.isEmpty {
            let first = parameters.count + 1
            Self.append(changing: added, to: &parameters)
            parameters.append(integers: added.map(\.timestamp.milliseconds))
            parameters.append(texts: added.map(\.requestID))
            parameters.append(texts: added.map(\.clientAddress))
            parameters.append(texts: added.map(\.method))
            parameters.append(texts: added.map(\.path))
            parts.append(
                """
                added AS (
                    INSERT INTO events (\(Self.changing), timestamp, request_id, client_ip, method,
                        path, process)
                    SELECT *, $1 FROM unnest(\(Self.numbers(first..<first + 22)))
                    ON CONFLICT (id) DO NOTHING RETURNING id)
                """)
            results.append("SELECT id FROM added")
        }
        if !closed.isEmpty {
            let first = parameters.count + 1
            Self.append(changing: closed, to: &parameters)
            parts.append(
                """
                closed AS (
                    UPDATE events SET type = new.type, status = new.status,
                        duration_us = new.duration_us, user_id = new.user_id,
                        chat_id = new.chat_id, group_id = new.group_id, model = new.model,
                        prompt_tokens = new.prompt_tokens,
                        completion_tokens = new.completion_tokens,
                        upstream_status = new.upstream_status, upstream_us = new.upstream_us,
                        upstream_request_id = new.upstream_request_id, bytes_in = new.bytes_in,
                        bytes_out = new.bytes_out, "end" = new."end", detail = new.detail
                    FROM unnest(\(Self.numbers(first..<first + 17))) AS new (\(Self.changing))
                    WHERE events.id = new.id AND events.process = $1 AND events."end" IS NULL
                    RETURNING events.id)
                """)
            results.append("SELECT id FROM closed")
        }
        let written = results.joined(separator: " UNION ALL ")
        let bodies = all.filter { $0.requestBody != nil || $0.responseBody != nil }
        if !bodies.isEmpty {
            let first = parameters.count + 1
            parameters.append(texts: bodies.map(\.id.text))
            parameters.append(blobs: bodies.map(\.requestBody))
            parameters.append(blobs: bodies.map(\.responseBody))
            parts.append(
                """
                bodies AS (
                    INSERT INTO event_bodies (id, request, response)
                    SELECT * FROM unnest(\(Self.numbers(first..<first + 3)))
                        AS new (id, request, response)
                    WHERE new.id IN (\(written))
                    ON CONFLICT (id) DO UPDATE SET
                        request = COALESCE(excluded.request, event_bodies.request),
                        response = COALESCE(excluded.response, event_bodies.response))
                """)
        }
        return PostgresStatement(
            "WITH " + parts.joined(separator: ",\n") + "\n" + written, parameters)
    }

    /// Returns the ids of those events that stand in the table as this group would have left them:
    /// whether a group was committed whose answer was lost.
    var question: PostgresStatement {
        let events = all
        var parameters = PostgresParameters()
        parameters.append(text: process)
        parameters.append(texts: events.map(\.id.text))
        parameters.append(texts: events.map { $0.end?.rawValue })
        parameters.append(integers: events.map(\.durationMicroseconds))
        return PostgresStatement(
            """
            SELECT events.id FROM events
            JOIN unnest($2, $3, $4) AS new (id, "end", duration_us) ON new.id = events.id
            WHERE events.process = $1 AND events."end" IS NOT DISTINCT FROM new."end"
                AND events.duration_us IS NOT DISTINCT FROM new.duration_us
            """, parameters)
    }

    private var all: [Event] {
        added + closed.filter { !doubtful.contains($0.id.text) }
    }

    // MARK: - Columns

    /// The columns that an opening and a closing row both write, as `append(changing:to:)` does.
    private static let changing = """
        id, type, status, duration_us, user_id, chat_id, group_id, model, prompt_tokens,
        completion_tokens, upstream_status, upstream_us, upstream_request_id, bytes_in, bytes_out,
        "end", detail
        """

    private static func append(changing events: [Event], to parameters: inout PostgresParameters) {
        parameters.append(texts: events.map(\.id.text))
        parameters.append(texts: events.map(\.kind.rawValue))
        parameters.append(integers: events.map { $0.status.map(Int64.init) })
        parameters.append(integers: events.map(\.durationMicroseconds))
        parameters.append(texts: events.map { $0.userID?.text })
        parameters.append(texts: events.map(\.chatID))
        parameters.append(texts: events.map(\.groupID))
        parameters.append(texts: events.map(\.model))
        parameters.append(integers: events.map(\.promptTokens))
        parameters.append(integers: events.map(\.completionTokens))
        parameters.append(integers: events.map { $0.upstreamStatus.map(Int64.init) })
        parameters.append(integers: events.map(\.upstreamMicroseconds))
        parameters.append(texts: events.map(\.upstreamRequestID))
        parameters.append(integers: events.map(\.bytesIn))
        parameters.append(integers: events.map(\.bytesOut))
        parameters.append(texts: events.map { $0.end?.rawValue })
        parameters.append(texts: events.map(\.detail))
    }

    private static func numbers(_ range: Range<Int>) -> String {
        range.map { "$\($0)" }.joined(separator: ", ")
    }
}
