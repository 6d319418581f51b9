internal import ProxyGPT

extension PostgresPool {
    /// The address of a pool's server, and the pool's time limits.
    struct Configuration: Sendable {
        var address: Secret
        var size: Int
        /// Whether statements are prepared, which a pooler of transactions does not bear.
        var prepares = true
        /// Milliseconds that the server gives a statement.
        var statementLimit: Int64 = 5000
        /// Milliseconds after that, in which the answer must arrive.
        var answerGrace: Int64 = 2000
        /// The server's limit for a statement's wait for a lock, as PostgreSQL writes it: our
        /// transactions take milliseconds, so a longer wait is for a lock of another program.
        var lockTimeout = "500ms"
        /// Milliseconds that the server lets a transaction be idle: a process that stands still
        /// holds no lock longer.
        var idleLimit: Int64 = 10_000
        /// Milliseconds that a task waits for a connection while there are some.
        var waitLimit: Int64 = 2000
        /// Milliseconds that a task waits for the first connection after all were lost, or tries
        /// again after its own was.
        var grace: Int64 = 1000
        var queueLimit = 10_000
        /// Whether the process is one of the service's, whose connections are counted.
        var countsProcesses = true
        /// Whether a database is opened to which not all has been moved yet.
        var mayBeIncomplete = false

        /// The same, with the settings in the address.
        var withTimeoutOfAddress: Configuration {
            var changed = self
            changed.lockTimeout = PostgresHandle.lockTimeout(in: address) ?? lockTimeout
            return changed
        }

        /// Milliseconds after which an answer is given up.
        var answerLimit: Int64 { statementLimit + answerGrace }
    }
}
