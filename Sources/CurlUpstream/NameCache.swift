// Names and their addresses, looked up off the loop.
//
// Owns one thread, where getaddrinfo may block, started with the first name. libcurl's own resolver
// would make a thread for every call that connects. Confined to the loop. Knows nothing of libcurl.

internal import EventLoop

/// The addresses of names, kept for a while.
@EventLoop final class NameCache {
    /// Addresses as text, or why there are none.
    enum Answer: Equatable, Sendable {
        case addresses([String])
        case failed(String)
    }

    private struct Entry {
        var addresses: [String] = []
        var freshUntil: Int64 = 0
        var isLookingUp = false
        var waiting: [(Answer) -> Void] = []
    }

    /// How long an answer is fresh; afterwards it serves while a new one is looked up.
    static let lifetime: Int64 = 60_000

    private let lookUp: @Sendable (String) -> Answer
    private lazy var thread = ThreadPool(name: "names", threads: 1, capacity: 64)
    private var entries: [String: Entry] = [:]

    init(lookUp: @escaping @Sendable (String) -> Answer = NameCache.systemLookUp) {
        self.lookUp = lookUp
    }

    /// Calls `then` with a name's addresses: at once where they are known.
    func resolve(_ name: String, then: @escaping (Answer) -> Void) {
        var entry = entries[name] ?? Entry()
        let isFresh = monotonicMilliseconds() < entry.freshUntil
        if entry.addresses.isEmpty { entry.waiting.append(then) }
        let mustLookUp = !isFresh && !entry.isLookingUp
        entry.isLookingUp = entry.isLookingUp || mustLookUp
        let known = entry.addresses
        entries[name] = entry
        if mustLookUp { refresh(name) }
        if !known.isEmpty { then(.addresses(known)) }
    }

    private func refresh(_ name: String) {
        EventLoop.spawn { [lookUp, thread] in
            let answer =
                (try? await thread.run { lookUp(name) })
                ?? .failed("too many names are being looked up")
            self.take(answer, for: name)
        }
    }

    private func take(_ answer: Answer, for name: String) {
        guard var entry = entries[name] else { return }
        entry.isLookingUp = false
        // A failed refresh leaves the old addresses in service.
        entry.freshUntil = monotonicMilliseconds() + Self.lifetime
        if case .addresses(let addresses) = answer { entry.addresses = addresses }
        let waiting = entry.waiting
        entry.waiting = []
        // The settings name one host: failures are not worth remembering, and more entries are a
        // mistake.
        entries[name] = entry.addresses.isEmpty ? nil : entry
        for then in waiting { then(answer) }
    }

    /// Whether libcurl knows the address itself: literals, and the local host.
    nonisolated static func needsNoLookUp(_ host: String) -> Bool {
        let name = host.lowercased()
        return name == "localhost" || name.hasSuffix(".localhost") || HostNames.isAddress(host)
    }

    /// Asks the system; blocks.
    @Sendable nonisolated static func systemLookUp(_ name: String) -> Answer {
        do {
            return .addresses(try HostNames.addresses(of: name))
        } catch {
            return .failed(error.text)
        }
    }
}
