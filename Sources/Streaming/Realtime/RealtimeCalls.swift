// All WebSocket calls of the process: how many there may be, whose they are, and when they must end.
//
// Confined to the loop of the connections. Asks the storage loop for what is in the database.

internal import Gateway
internal import NIOCore
internal import ProxyGPT

/// Keeps the WebSocket calls that are open.
package final class RealtimeCalls {
    /// What the calls have from outside.
    package struct Surroundings: Sendable {
        let endpoint: RealtimeEndpoint
        let storage: any RealtimeRequests
        let route: UpstreamRoute
        let places: FanOut.Limits
        let limits: SocketRelay.Limits
        /// Microseconds that only ever grow.
        let microseconds: @Sendable () -> Int64
        /// A random number from a range.
        let spread: @Sendable (ClosedRange<Int64>) -> Int64
        /// Four random bytes.
        let makeMask: @Sendable () -> [UInt8]

        /// Milliseconds that only ever grow.
        var now: @Sendable () -> Int64 {
            let microseconds = microseconds
            return { microseconds() / 1000 }
        }
    }

    /// Milliseconds from one look at a session to the next.
    private static let checkInterval: ClosedRange<Int64> = 480_000...720_000

    let surroundings: Surroundings
    private let loop: any EventLoop
    private var sessions: [Int: RealtimeSession] = [:]
    private var ofUser: [User.ID: Int] = [:]
    private var ofAddress: [String: Int] = [:]
    private var nextNumber = 0
    private var isDraining = false

    init(on loop: any EventLoop, _ surroundings: Surroundings) {
        self.loop = loop
        self.surroundings = surroundings
    }

    private var door: Door<RealtimeCalls> { Door(self, loop) }

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
            checkAt: surroundings.now() + surroundings.spread(Self.checkInterval),
            proceed: proceed)
        let refusal = refusal(of: call)
        sessions[session.number] = session
        ofUser[call.userID, default: 0] += 1
        ofAddress[call.clientAddress, default: 0] += 1
        if let refusal {
            session.turnAway(refusal)
            return
        }
        session.start()
        // Rights that shrank before the call was in the list are seen here, later ones there.
        check([session])
    }

    private func refusal(of call: RealtimeCall) -> Failure? {
        let places = surroundings.places
        if isDraining || sessions.count >= places.total {
            return .allPlacesTaken(retryAfter: pause())
        }
        if ofUser[call.userID, default: 0] >= places.perUser
            || ofAddress[call.clientAddress, default: 0] >= places.perAddress
        {
            return Failure(.rateLimited, "You have too many calls open.", retryAfter: pause())
        }
        return nil
    }

    /// Seconds after which a client may try again: each another number, so that not all come back at
    /// once.
    func pause() -> Int { Int(surroundings.spread(3...9)) }

    /// Has the end of a call recorded, after which it is forgotten.
    func record(_ record: RealtimeRecord, of session: RealtimeSession) {
        let (number, door) = (session.number, door)
        if case .ended = record { forget(session) }
        surroundings.storage.record(record, of: session.call) { response in
            door.enter { $0.recorded(number, response) }
        }
    }

    private func recorded(_ number: Int, _ response: Response?) {
        guard let session = sessions[number] else { return }
        forget(session)
        session.answer(response)
    }

    private func forget(_ session: RealtimeSession) {
        guard sessions.removeValue(forKey: session.number) != nil else { return }
        ofUser.countDown(session.call.userID)
        ofAddress.countDown(session.call.clientAddress)
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
        let door = door
        surroundings.storage.check(
            sessions.map { (number: $0.number, call: $0.call) }
        ) { verdicts in
            door.enter { calls in
                for (number, isAllowed) in verdicts { calls.take(isAllowed, of: number) }
            }
        }
    }

    private func take(_ isAllowed: Bool?, of number: Int) {
        guard let session = sessions[number] else { return }
        switch isAllowed {
        case true?:
            session.checkAt = surroundings.now() + surroundings.spread(Self.checkInterval)
        case false?: session.stop(.notAllowed, .sessionEnded)
        // Nobody knows: asked again with the next tick.
        case nil: session.checkAt = surroundings.now()
        }
    }

    // MARK: - Time

    /// Does what is due for everybody. Called once a second.
    func tick() {
        let now = surroundings.now()
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

    /// Takes nobody any more and ends all calls.
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
