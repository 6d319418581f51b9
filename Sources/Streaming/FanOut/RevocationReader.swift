internal import EventLoop
internal import Logging
internal import ProxyGPT

/// Polls the store for revoked rights, every half second.
@EventLoop final class RevocationReader {
    /// Milliseconds between polls.
    nonisolated static let interval: Int64 = 500
    private nonisolated static let limit = 1000

    private let store: any RevocationStore
    private let logger: Logger
    private let deliver: @Sendable ([Revocation]) -> Void
    private var last: Int64 = 0

    nonisolated init(
        store: any RevocationStore, logger: Logger,
        deliver: @escaping @Sendable ([Revocation]) -> Void
    ) {
        self.store = store
        self.logger = logger
        self.deliver = deliver
    }

    /// Reads where to begin. Called before the first client subscribes.
    package func start() async throws {
        last = try await store.lastRevocation()
    }

    func poll() async {
        do {
            while true {
                let found = try await store.revocations(after: last, limit: Self.limit)
                guard let newest = found.last?.number else { return }
                last = newest
                deliver(found.map(\.revocation))
                if found.count < Self.limit { return }
            }
        } catch {
            logger.error(
                "revocations not read", metadata: ["error": "\(String(describing: error))"])
        }
    }
}
