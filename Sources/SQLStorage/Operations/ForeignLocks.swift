// Locks on our tables that other sessions hold: of an operator at a prompt, of maintenance.

internal import Formats
internal import ProxyGPT

extension SQLStorage {
    /// Locks of sessions that do not belong to the service and that writes may have to wait for, a
    /// sentence each. For PostgreSQL alone.
    func foreignLocks() async throws -> [String] {
        // Reads and the automatic vacuum delay no writer.
        let rows = try await database.query(
            """
            SELECT locks.pid, COALESCE(who.application_name, '') AS name,
                COALESCE(host(who.client_addr), 'local') AS address,
                string_agg(DISTINCT
                    CASE WHEN locks.locktype = 'advisory' THEN 'the lock of migrations'
                        ELSE locks.mode || ' on ' || tables.relname END, ', ') AS held
            FROM pg_locks AS locks
            LEFT JOIN pg_stat_activity AS who ON who.pid = locks.pid
            LEFT JOIN pg_class AS tables ON tables.oid = locks.relation AND tables.relkind = 'r'
                AND tables.relnamespace = CAST(current_schema() AS regnamespace)
            WHERE locks.granted AND locks.pid <> pg_backend_pid()
                AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND COALESCE(who.application_name, '') <> current_setting('application_name')
                AND ((locks.locktype = 'advisory'
                        AND CAST(locks.classid AS BIGINT) = \(PostgresSchema.lock >> 32)
                        AND CAST(locks.objid AS BIGINT) = \(PostgresSchema.lock & 0xFFFF_FFFF))
                    OR (tables.oid IS NOT NULL
                        AND locks.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock')))
            GROUP BY locks.pid, who.application_name, who.client_addr
            ORDER BY locks.pid LIMIT 5
            """)
        return try rows.map { row in
            "process \(try row.integer("pid")) (\(String(quoting: try row.text("name").utf8)), "
                + "\(try row.text("address"))) holds \(try row.text("held"))"
        }
    }
}
