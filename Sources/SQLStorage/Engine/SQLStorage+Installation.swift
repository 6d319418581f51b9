package import ProxyGPT

extension SQLStorage {
    /// The installation that the database is of: `new`, where no process has made one before.
    ///
    /// - Throws: also where an operator has changed the row to an invalid one.
    package func installation(
        orElse new: @autoclosure () -> Installation
    ) async throws -> Installation {
        if let found = try await findInstallation() { return found }
        let new = new()
        _ = try await database.transaction { transaction in
            try await transaction.execute(
                """
                INSERT INTO installation (id, name, secret) VALUES (1, \(new.name), \(new.secret))
                ON CONFLICT (id) DO NOTHING
                """)
        }
        // Of several processes that start at once the first one's counts for all.
        if let found = try await findInstallation() { return found }
        throw DatabaseError(.other, "the row has gone", during: "read installation")
    }

    private func findInstallation() async throws -> Installation? {
        let rows = try await database.query("SELECT name, secret FROM installation WHERE id = 1")
        guard let row = rows.first else { return nil }
        guard
            let found = Installation(name: try row.text("name"), secret: try row.blob("secret"))
        else {
            throw DatabaseError(
                .other, "the row is none of ours: delete it, and a process makes another",
                during: "read installation")
        }
        return found
    }

    /// The statement that has the next process make another installation of a copy.
    package static let renewal = "DELETE FROM installation"
}
