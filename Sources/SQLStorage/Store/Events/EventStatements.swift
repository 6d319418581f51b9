// The three statements that put events into their tables, bound column by column: the hottest
// path of the database.
//
// Owned by the writer and used on its thread alone.

internal import CSQLite
internal import ProxyGPT

/// Puts events into their tables.
final class EventStatements {
    /// A column's value and the number of its parameter, the same in both statements that write it.
    private typealias Binding = (position: Int32, value: EventColumn.Value)

    private let connection: SQLiteConnection
    private let process: String
    private let insertion: SQLiteStatement
    private let closing: SQLiteStatement
    private let bodies: SQLiteStatement
    private let insertionBindings: [Binding]
    private let closingBindings: [Binding]
    private let processPosition: Int32

    init(_ connection: SQLiteConnection, process: String) throws(DatabaseError) {
        self.connection = connection
        self.process = process
        // Numbers are written ?3, because SQLite takes $3 for a name and numbers names as they come.
        var changes: [String] = []
        var insertionBindings: [Binding] = []
        var closingBindings: [Binding] = []
        var position: Int32 = 0
        for column in EventColumn.all {
            position += 1
            insertionBindings.append((position, column.value))
            if column.moment != .opening { closingBindings.append((position, column.value)) }
            if column.moment == .closing { changes.append("\(column.sqlName) = ?\(position)") }
        }
        processPosition = position + 1
        self.insertionBindings = insertionBindings
        self.closingBindings = closingBindings
        let numbers = (1...processPosition).map { "?\($0)" }.joined(separator: ", ")
        insertion = try connection.prepare(
            "INSERT INTO events (\(EventColumn.list()), process) VALUES (\(numbers))")
        closing = try connection.prepare(
            """
            UPDATE events SET \(changes.joined(separator: ", "))
            WHERE id = ?1 AND process = ?\(processPosition) AND "end" IS NULL
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
        // The bodies first: when they fail, the row must not be there, because its caller is told
        // that it is not.
        try insertBodies(of: event)
        bind(event, insertionBindings, to: insertion)
        _ = try insertion.step()
    }

    /// Closes an opened row. Throws when the row is not this process's any more: after a pause beyond
    /// the lease another process has closed it.
    func close(_ event: Event) throws(DatabaseError) {
        defer { closing.reset() }
        bind(event, closingBindings, to: closing)
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
        bodies.bind(event.id.text, at: 1)
        if let body = event.requestBody { bodies.bind(body, at: 2) }
        if let body = event.responseBody { bodies.bind(body, at: 3) }
        _ = try bodies.step()
    }

    /// The codes of the calls are left alone: a value that could not be bound for want of memory is NULL,
    /// and any other error would be a wrong number above.
    private func bind(_ event: Event, _ bindings: [Binding], to statement: SQLiteStatement) {
        for (position, value) in bindings {
            switch value {
            case .text(let text): if let text = text(event) { statement.bind(text, at: position) }
            case .number(let number):
                if let number = number(event) { statement.bind(number, at: position) }
            }
        }
        statement.bind(process, at: processPosition)
    }
}

@available(*, unavailable) extension EventStatements: Sendable {}
