// All WebSocket calls of the process: how many there may be, to which user each belongs, and when it must end.
//
// Confined to the loop of the connections. Asks the storage loop for what is in the database.

internal import Gateway
internal import NIOCore
internal import ProxyGPT

/// Keeps the WebSocket calls that are open.
package final class RealtimeCalls {
    /// What the calls have from outside.
    package struct Dependencies: Sendable {
        let endpoint: RealtimeEndpoint
        let storage: any RealtimeRequests
        let route: UpstreamRoute
        let places: ConnectionLimits
        let limits: SocketRelay.Limits
        /// Microseconds that only ever grow.
        let microseconds: @Sendable () -> Int64
        /// A random number from a range.
        let jitter: @Sendable (ClosedRange<Int64>) -> Int64
        /// Four random bytes.
        let makeMask: @Sendable () -> [UInt8]

        /// Milliseconds that only ever grow.
        var now: @Sendable () -> Int64 {
            let microseconds = microseconds
            return { microseconds() / 1000 }
        }
    }

    /// Milliseconds between checks of a session.
    private static let checkInterval: ClosedRange<Int64> = 480_000...720_000

    let dependencies: Dependencies
    private let loop: any EventLoop
    private var sessions: [Int: RealtimeSession] = [:]
    private var occupancy: Occupancy
    private var nextNumber = 0
    private var isDraining = false

    init(on loop: any EventLoop, _ dependencies: Dependencies) {
        self.loop = loop
        self.dependencies = dependencies
        occupancy = Occupancy(dependencies.places)
    }

    private var bound: LoopBound<RealtimeCalls> { LoopBound(self, loop) }

    var count: Int { sessions.count }

    // MARK: - Coming and going

    /// Takes a call over that has been granted. `proceed` is called once, on the loop.
    func begin(
        _ call: RealtimeCall, on client: any Channel,
        proceed: @escaping (RealtimeSession.Step) -> Void
    ) {
        nextNumber += 1
        let session = RealtimeSession(
            nextNumber, call, on: client, of: self,
            checkAt: dependencies.now() + dependencies.jitter(Self.checkInterval),
            proceed: proceed)
        let refusal = refusal(of: call)
        sessions[session.number] = session
        occupancy.add(call.userID, at: call.clientAddress)
        if let refusal {
            session.turnAway(refusal)
            return
        }
        session.start()
        // Rights that shrank before the call was in the list are seen here, later ones there.
        check([session])
    }

    private func refusal(of call: RealtimeCall) -> Failure? {
        if isDraining { return .allPlacesTaken(retryAfter: pause()) }
        return switch occupancy.shortage(for: call.userID, at: call.clientAddress) {
        case nil: nil
        case .total?: .allPlacesTaken(retryAfter: pause())
        case .client?:
            Failure(.rateLimited, "You have too many calls open.", retryAfter: pause())
        }
    }

    /// Seconds after which a client may try again: each another number, so that not all come back at
    /// once.
    func pause() -> Int { Int(dependencies.jitter(3...9)) }

    /// Has the end of a call recorded, after which it is forgotten.
    func record(_ record: RealtimeRecord, of session: RealtimeSession) {
        let (number, bound) = (session.number, bound)
        if case .ended = record { forget(session) }
        dependencies.storage.record(record, of: session.call) { response in
            bound.execute { $0.recorded(number, response) }
        }
    }

    private func recorded(_ number: Int, _ response: Response?) {
        guard let session = sessions[number] else { return }
        forget(session)
        session.answer(response)
    }

    private func forget(_ session: RealtimeSession) {
        guard sessions.removeValue(forKey: session.number) != nil else { return }
        occupancy.remove(session.call.userID, at: session.call.clientAddress)
    }

    // MARK: - Rights

    /// Has those checked whom shrunken rights may concern.
    func receive(_ revocations: [Revocation]) {
        check(
            sessions.values.filter { session in
                revocations.contains { session.call.isAffected(by: $0) }
            })
    }

    private func check(_ sessions: [RealtimeSession]) {
        if sessions.isEmpty { return }
        let bound = bound
        dependencies.storage.check(
            sessions.map { (number: $0.number, call: $0.call) }
        ) { verdicts in
            bound.execute { calls in
                for (number, isAllowed) in verdicts { calls.take(isAllowed, of: number) }
            }
        }
    }

    private func take(_ isAllowed: Bool?, of number: Int) {
        guard let session = sessions[number] else { return }
        switch isAllowed {
        case true?:
            session.checkAt = dependencies.now() + dependencies.jitter(Self.checkInterval)
        case false?: session.stop(.notAllowed, .sessionEnded)
        // The check could not be made: it is repeated with the next tick.
        case nil: session.checkAt = dependencies.now()
        }
    }

    // MARK: - Time

    /// Does what is due for each call. Called once a second.
    func tick() {
        let now = dependencies.now()
        var due: [RealtimeSession] = []
        for session in Array(sessions.values) {
            session.tick()
            if now >= session.checkAt {
                session.checkAt = .max
                due.append(session)
            }
        }
        check(due)
    }

    /// Refuses new calls and ends the open ones.
    func drain() {
        isDraining = true
        for session in Array(sessions.values) {
            session.stop(.restart, .restarting(retryAfter: pause()))
        }
    }
}

extension Failure {
    static func allPlacesTaken(retryAfter seconds: Int) -> Failure {
        Failure(.unavailable, "All places are taken. Try again.", retryAfter: seconds)
    }

    fileprivate static func restarting(retryAfter seconds: Int) -> Failure {
        Failure(.unavailable, "The service restarts. Try again.", retryAfter: seconds)
    }

    fileprivate static let sessionEnded = Failure(
        .unauthorized, "The session has ended. Log in again.")
}
