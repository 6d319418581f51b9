// The three statements that put events into their tables, bound column by column: the hottest
// path of the database.
//
// Owned by the writer and used on its thread alone.

internal import CSQLite
internal import ProxyGPT

/// Puts events into their tables.
final class EventStatements {
    private let connection: SQLiteConnection
    private let process: String
    private let insertion: SQLiteStatement
    private let closing: SQLiteStatement
    private let bodies: SQLiteStatement

    init(_ connection: SQLiteConnection, process: String) throws(DatabaseError) {
        self.connection = connection
        self.process = process
        // Columns that both statements write have the same numbers in both: ?3, because SQLite
        // takes $3 for a name and numbers names as they come.
        insertion = try connection.prepare(
            """
            INSERT INTO events (id, process, type, status, duration_us, user_id, chat_id, group_id,
                model, prompt_tokens, completion_tokens, upstream_status, upstream_us,
                upstream_request_id, bytes_in, bytes_out, "end", detail,
                timestamp, request_id, client_ip, method, path)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
                ?19, ?20, ?21, ?22, ?23)
            """)
        closing = try connection.prepare(
            """
            UPDATE events SET type = ?3, status = ?4, duration_us = ?5, user_id = ?6, chat_id = ?7,
                group_id = ?8, model = ?9, prompt_tokens = ?10, completion_tokens = ?11,
                upstream_status = ?12, upstream_us = ?13, upstream_request_id = ?14,
                bytes_in = ?15, bytes_out = ?16, "end" = ?17, detail = ?18
            WHERE id = ?1 AND process = ?2 AND "end" IS NULL
            """)
        bodies = try connection.prepare(
            """
            INSERT INTO event_bodies (id, request, response) VALUES (?1, ?2, ?3)
            ON CONFLICT (id) DO UPDATE SET
                request = COALESCE(excluded.request, event_bodies.request),
                response = COALESCE(excluded.response, event_bodies.response)
            """)
    }

    /// Adds a whole row, or an opening one.
    func insert(_ event: Event) throws(DatabaseError) {
        defer { insertion.reset() }
        // First: a row must not be there when its caller is told that it is not.
        try insertBodies(of: event)
        bindChanging(event, to: insertion)
        bind(event.timestamp.milliseconds, 19, insertion)
        bind(event.requestID, 20, insertion)
        bind(event.clientAddress, 21, insertion)
        bind(event.method, 22, insertion)
        bind(event.path, 23, insertion)
        _ = try insertion.step()
    }

    /// Closes an opened row. Throws when it is not this process's any more: after a pause beyond
    /// the lease somebody else has closed it.
    func close(_ event: Event) throws(DatabaseError) {
        defer { closing.reset() }
        bindChanging(event, to: closing)
        _ = try closing.step()
        guard connection.changes > 0 else {
            throw DatabaseError(
                .other, "the row was closed by another process", during: "close event")
        }
        try insertBodies(of: event)
    }

    private func insertBodies(of event: Event) throws(DatabaseError) {
        guard event.requestBody != nil || event.responseBody != nil else { return }
        defer { bodies.reset() }
        bind(event.id.text, 1, bodies)
        if let body = event.requestBody { bodies.bind(body, at: 2) }
        if let body = event.responseBody { bodies.bind(body, at: 3) }
        _ = try bodies.step()
    }

    private func bindChanging(_ event: Event, to statement: SQLiteStatement) {
        bind(event.id.text, 1, statement)
        bind(process, 2, statement)
        bind(event.kind.rawValue, 3, statement)
        bind(event.status.map(Int64.init), 4, statement)
        bind(event.durationMicroseconds, 5, statement)
        bind(event.userID?.text, 6, statement)
        bind(event.chatID, 7, statement)
        bind(event.groupID, 8, statement)
        bind(event.model, 9, statement)
        bind(event.promptTokens, 10, statement)
        bind(event.completionTokens, 11, statement)
        bind(event.upstreamStatus.map(Int64.init), 12, statement)
        bind(event.upstreamMicroseconds, 13, statement)
        bind(event.upstreamRequestID, 14, statement)
        bind(event.bytesIn, 15, statement)
        bind(event.bytesOut, 16, statement)
        bind(event.end?.rawValue, 17, statement)
        bind(event.detail, 18, statement)
    }

    // The codes of these calls are left alone: what could not be bound for want of memory is NULL,
    // and everything else would be a wrong number above.

    private func bind(_ value: Int64?, _ position: Int32, _ statement: SQLiteStatement) {
        if let value { sqlite3_bind_int64(statement.handle, position, value) }
    }

    private func bind(_ value: String?, _ position: Int32, _ statement: SQLiteStatement) {
        if let value { statement.bind(value, at: position) }
    }
}

@available(*, unavailable) extension EventStatements: Sendable {}
