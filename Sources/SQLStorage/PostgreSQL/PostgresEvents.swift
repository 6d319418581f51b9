// One batch of events as one statement: whatever their number, one round trip and one commit.

internal import ProxyGPT

/// Gathers the rows of one batch.
struct PostgresEvents {
    /// Rows to be added; a call that opened and closed within the batch is one.
    private(set) var added: [Event] = []
    /// The index of a row in `added`.
    private var indexes: [Event.ID: Int] = [:]
    /// Rows to be closed.
    private(set) var closed: [Event] = []
    /// Ids of those that are in both.
    private(set) var doubtful: Set<String> = []
    private let process: String

    init(process: String) {
        self.process = process
    }

    mutating func add(_ event: Event) {
        guard let index = indexes[event.id] else {
            indexes[event.id] = added.count
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

    /// Closes a row that may have been added, or adds it whole.
    mutating func addOrClose(_ event: Event) {
        doubtful.insert(event.id.text)
        closed.append(event)
        add(event)
    }

    var count: Int { added.count + closed.count - doubtful.count }

    /// Adds and closes the rows and returns the ids of those for which that succeeded: not of added ones
    /// whose id was there already, nor of closed ones that are not this process's any more.
    var statement: PostgresStatement {
        var parameters = PostgresParameters()
        parameters.append(text: process)
        if !added.isEmpty { Self.append(EventColumn.all, of: added, to: &parameters) }
        if !closed.isEmpty { Self.append(Self.closing, of: closed, to: &parameters) }
        let bodies = all.filter { $0.requestBody != nil || $0.responseBody != nil }
        if !bodies.isEmpty {
            parameters.append(texts: bodies.map(\.id.text))
            parameters.append(blobs: bodies.map(\.requestBody))
            parameters.append(blobs: bodies.map(\.responseBody))
        }
        let parts = Parts(adds: !added.isEmpty, closes: !closed.isEmpty, hasBodies: !bodies.isEmpty)
        return PostgresStatement(Self.texts[parts] ?? Self.text(parts), parameters)
    }

    /// Returns the ids of those events that stand in the table as this batch would have left them: so a
    /// batch whose answer was lost is known to be committed or not.
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

    // MARK: - Texts

    /// The parts of a statement, which decide its text.
    private struct Parts: Hashable {
        let adds: Bool
        let closes: Bool
        let hasBodies: Bool
    }

    /// The text of every statement, made once.
    private static let texts: [Parts: String] = {
        var texts: [Parts: String] = [:]
        for (adds, closes) in [(true, false), (false, true), (true, true)] {
            for hasBodies in [false, true] {
                let parts = Parts(adds: adds, closes: closes, hasBodies: hasBodies)
                texts[parts] = text(parts)
            }
        }
        return texts
    }()

    /// The columns of a row that is closed: its id and the ones that change.
    private static let closing = EventColumn.all.filter { $0.moment != .opening }

    private static func text(_ parts: Parts) -> String {
        // $1 is the process.
        var next = 2
        func numbers(_ count: Int) -> String {
            defer { next += count }
            return (next..<next + count).map { "$\($0)" }.joined(separator: ", ")
        }
        var texts: [String] = []
        var results: [String] = []
        if parts.adds {
            texts.append(
                """
                added AS (
                    INSERT INTO events (\(EventColumn.list()), process)
                    SELECT *, $1 FROM unnest(\(numbers(EventColumn.all.count)))
                    ON CONFLICT (id) DO NOTHING RETURNING id)
                """)
            results.append("SELECT id FROM added")
        }
        if parts.closes {
            let changes = EventColumn.closing.map { "\($0.sqlName) = new.\($0.sqlName)" }
            texts.append(
                """
                closed AS (
                    UPDATE events SET \(changes.joined(separator: ", "))
                    FROM unnest(\(numbers(closing.count))) AS new (\(EventColumn.list(closing)))
                    WHERE events.id = new.id AND events.process = $1 AND events."end" IS NULL
                    RETURNING events.id)
                """)
            results.append("SELECT id FROM closed")
        }
        let written = results.joined(separator: " UNION ALL ")
        if parts.hasBodies {
            texts.append(
                """
                bodies AS (
                    INSERT INTO event_bodies (id, request, response)
                    SELECT * FROM unnest(\(numbers(3))) AS new (id, request, response)
                    WHERE new.id IN (\(written))
                    ON CONFLICT (id) DO UPDATE SET
                        request = COALESCE(excluded.request, event_bodies.request),
                        response = COALESCE(excluded.response, event_bodies.response))
                """)
        }
        return "WITH " + texts.joined(separator: ",\n") + "\n" + written
    }

    private static func append(
        _ columns: [EventColumn], of events: [Event], to parameters: inout PostgresParameters
    ) {
        for column in columns {
            switch column.value {
            case .text(let text): parameters.append(texts: events.map(text))
            case .number(let number): parameters.append(integers: events.map(number))
            }
        }
    }
}
