internal import ProxyGPT

// The columns of `events` as SQL, and the statements that both engines share.

extension EventColumn {
    /// The name as SQL: `end` is a keyword.
    var sqlName: String { "\"\(name)\"" }

    /// The columns that change until the row is closed.
    static let closing = all.filter { $0.moment == .closing }

    /// The names of columns, separated by commas.
    static func list(_ columns: [EventColumn] = all) -> String {
        columns.map(\.sqlName).joined(separator: ", ")
    }

    func sqlValue(of event: Event) -> SQLValue {
        switch value {
        case .text(let text): text(event).sqlValue
        case .number(let number): number(event).sqlValue
        }
    }
}

extension EventRecord {
    /// Reads a row with all columns.
    init(row: Row) throws {
        self.init()
        for column in EventColumn.all {
            switch column.field {
            case .text(let field): self[keyPath: field] = try row.text(column.name)
            case .optionalText(let field):
                self[keyPath: field] = try row.optionalText(column.name)
            case .number(let field): self[keyPath: field] = try row.integer(column.name)
            case .optionalNumber(let field):
                self[keyPath: field] = try row.optionalInteger(column.name)
            case .timestamp(let field): self[keyPath: field] = try row.timestamp(column.name)
            }
        }
    }
}

extension Transaction {
    /// Adds an event that has ended, together with the change that it is about.
    func record(_ event: Event, process: String) async throws {
        let values = EventColumn.all.map { $0.sqlValue(of: event) } + [process.sqlValue]
        try await execute(
            """
            INSERT INTO events (\(unsafe: EventColumn.list()), process) VALUES (\(list: values))
            """)
    }
}
