internal import EventLoop

/// Finds the addresses of one host on a thread of its own, since getaddrinfo(3) blocks, and cannot
/// be interrupted.
@EventLoop final class NameLookUp {
    private nonisolated let lookUp: @Sendable (String) -> [String]
    private lazy var thread = ThreadPool(name: "redis-name", threads: 1, capacity: 4)
    private(set) var isUnderWay = false
    private var waiting: [Int: UnsafeContinuation<[String]?, Never>] = [:]
    private var waiters = 0
    /// The result of a look-up that came too late, for the next caller: a resolver that is slow is
    /// slow each time.
    private var late: [String]?

    nonisolated init(
        _ lookUp: @escaping @Sendable (String) -> [String] = {
            (try? HostNames.addresses(of: $0)) ?? []
        }
    ) {
        self.lookUp = lookUp
    }

    /// The addresses as text, none where the name has none; nil where they are not known in time.
    func addresses(of name: String, within milliseconds: Int64) async -> [String]? {
        var timer: Timer?
        defer { timer?.cancel() }
        // All of it without a suspension: the result must find its waiting caller.
        return await withUnsafeContinuation { continuation in
            if let late {
                self.late = nil
                continuation.resume(returning: late)
                return
            }
            if !isUnderWay {
                isUnderWay = true
                EventLoop.spawn { await self.find(name) }
            }
            waiters += 1
            let waiter = waiters
            waiting[waiter] = continuation
            timer = EventLoop.schedule(afterMilliseconds: milliseconds) {
                self.waiting.removeValue(forKey: waiter)?.resume(returning: nil)
            }
        }
    }

    private func find(_ name: String) async {
        let lookUp = lookUp
        let found = (try? await thread.run { lookUp(name) }) ?? []
        isUnderWay = false
        if waiting.isEmpty, !found.isEmpty { late = found }
        let all = waiting
        waiting = [:]
        for continuation in all.values { continuation.resume(returning: found) }
    }
}
