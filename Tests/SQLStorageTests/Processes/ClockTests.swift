internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// A host's clock, which may be set while time passes as always.
final class SetClock: Clock {
    private let offset: Mutex<Int64>
    private let passed = Mutex<Int64>(0)

    init(_ milliseconds: Int64) {
        offset = Mutex(milliseconds)
    }

    func now() -> Timestamp {
        Timestamp(milliseconds: offset.withLock { $0 } + passed.withLock { $0 })
    }

    func monotonicMicroseconds() -> Int64 { passed.withLock { $0 } * 1000 }
    func set(forward seconds: Int64) { offset.withLock { $0 += seconds * 1000 } }
    func pass(seconds: Int64) { passed.withLock { $0 += seconds * 1000 } }
}

@Suite struct ClockTests {
    private static let days: Int64 = 86_400

    /// Two hosts on one server, the second one's clock set by some seconds.
    private func withHosts(
        ahead seconds: Int64,
        _ body: (SQLStorage, SQLStorage, SetClock, SetClock) async throws -> Void
    ) async throws {
        let place = try await Place(.postgreSQL)
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        let real = Int64(time.tv_sec) * 1000
        let clocks = (SetClock(real), SetClock(real + seconds * 1000))
        let right = try await place.open(try place.configuration(), clock: clocks.0)
        let wrong = try await place.open(try place.configuration(), clock: clocks.1)
        do {
            try await body(right, wrong, clocks.0, clocks.1)
        } catch {
            await right.close()
            await wrong.close()
            throw error
        }
        await right.close()
        await wrong.close()
    }

    private func session(of user: User.ID, at time: Timestamp) -> NewSession {
        NewSession(
            session: Session(
                id: Session.ID(ids.next()), userID: user, createdAt: time, lastUsedAt: time,
                expiresAt: time.adding(seconds: 30 * Self.days)),
            tokenDigest: Array(ids.next().utf8))
    }

    private func body(at time: Timestamp) -> Event {
        var event = Event(
            id: Event.ID(
                UUIDText.version7(milliseconds: time.milliseconds, counter: 0, random: 1)),
            timestamp: time, kind: .forward)
        event.requestBody = [1]
        event.end = .done
        return event
    }

    private func count(_ storage: SQLStorage, _ table: String) async throws -> Int64 {
        try await storage.number("SELECT COUNT(*) AS number FROM \(unsafe: table)")
    }

    @Test func `a host whose clock is 40 days ahead ends and deletes nothing`() async throws {
        try await withHosts(ahead: 40 * Self.days) { right, wrong, clock, wrongClock in
            let new = try makeUser("asim", at: clock.now())
            let ours = session(of: new.user.id, at: clock.now())
            try await right.store.create(new, session: ours)
            try await right.events.close(body(at: clock.now()))
            while try await !wrong.lease.expire() {}
            #expect(try await count(right, "sessions") == 1)
            #expect(try await count(right, "event_bodies") == 1)
            let found = try await wrong.store.caller(
                tokenDigest: ours.tokenDigest, now: wrongClock.now())
            #expect(found?.user.id == new.user.id)

            // What it makes lasts no longer than what others make.
            let theirs = session(of: new.user.id, at: wrongClock.now())
            #expect(try await wrong.store.add(theirs, ifPasswordHashIs: new.passwordHash))
            let limit = clock.now().adding(seconds: 31 * Self.days)
            let sessions = try await right.store.openSessions(
                of: nil, after: nil, limit: 9, now: clock.now())
            #expect(sessions.count == 2 && sessions.allSatisfy { $0.session.expiresAt < limit })

            try await wrong.lease.start()
            try await right.lease.start()
            // The clocks of the test stand.
            #expect(abs(await wrong.clockLead() - 40 * Self.days) < 3600)
            #expect(abs(await right.clockLead()) < 3600)
            #expect(try await count(right, "processes") == 2, "nobody is taken for dead")
        }
    }

    @Test(arguments: [7200, -7200])
    func `hosts whose clocks differ delay wrong log-ins together`(ahead: Int64) async throws {
        try await withHosts(ahead: ahead) { right, wrong, clock, wrongClock in
            let throttle = LoginThrottle(foldedName: "asim", clientAddress: "::1")
            var admitted = 0
            for index in 0..<24 {
                let (storage, time) =
                    index % 2 == 0 ? (right, clock.now()) : (wrong, wrongClock.now())
                if try await storage.store.beginLogin(throttle, now: time) == .admitted {
                    admitted += 1
                    try await storage.store.failLogin(throttle, now: time)
                }
            }
            #expect(admitted >= 5 && admitted < 12, "five are free, and then seconds pass")
            // A revocation by a host whose clock is behind is read by the others.
            let user = try await right.addUser("asim").user
            let chat = makeChat(of: user.id)
            try await right.store.create(chat)
            try await wrong.store.deleteChat(chat.id, by: user.id, now: wrongClock.now())
            while try await !right.lease.expire() {}
            #expect(try await count(right, "revocations") == 1)
        }
    }

    @Test func `a jump of a day holds all deletions for an hour, and so does one before the start`()
        async throws
    {
        let place = try Place()
        let clock = SetClock(now.milliseconds)
        let old = now.adding(seconds: -29 * Self.days)
        try await place.with(clock: clock) { storage in
            try await storage.events.close(body(at: old))
            try await storage.events.close(body(at: now.adding(seconds: -7200)))
            try await storage.lease.start()
            while try await !storage.lease.expire() {}
            clock.pass(seconds: 5)
            try await storage.lease.renew()
            clock.set(forward: 40 * Self.days)
            try await storage.lease.renew()
            while try await !storage.lease.expire() {}
            #expect(try await count(storage, "event_bodies") == 2)
            clock.pass(seconds: 3599)
            while try await !storage.lease.expire() {}
            #expect(try await count(storage, "event_bodies") == 2)
            // The next process does not know of the jump, but sees it.
        }
        try await place.with(clock: clock) { storage in
            try await storage.events.close(body(at: clock.now()))
            while try await !storage.lease.expire() {}
            #expect(try await count(storage, "event_bodies") == 3)
            clock.pass(seconds: 3601)
            while try await !storage.lease.expire() {}
            #expect(try await count(storage, "event_bodies") == 1)
        }
    }

    @Test func `time that passes is no jump`() async throws {
        let clock = SetClock(now.milliseconds)
        try await Place().with(clock: clock) { storage in
            try await storage.events.close(body(at: now))
            try await storage.lease.start()
            clock.pass(seconds: 31 * Self.days)
            try await storage.lease.renew()
            #expect(try await storage.lease.mayDelete(at: now.adding(seconds: 3601)))
            while try await !storage.lease.expire() {}
            #expect(try await count(storage, "event_bodies") == 0)
        }
    }
}
