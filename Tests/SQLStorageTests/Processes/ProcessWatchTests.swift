internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct ProcessWatchTests {
    private let hour: Int64 = 3600
    private let own = ProcessIdentity(id: "own", host: "h", machine: "m", bootID: "boot")

    private func record(
        boot: String = "boot", machine: String? = "m", beat: Int64, uptime: Int64?
    ) -> ProcessRecord {
        ProcessRecord(
            id: "other", host: "h", machine: machine, home: boot + " 1:2",
            heartbeat: now.adding(seconds: beat), uptime: uptime.map { $0 * 1000 })
    }

    private func isAlive(_ record: ProcessRecord, at uptime: Int64) -> Bool {
        ProcessWatch(own).isAlive(record, now: now, uptime: uptime * 1000)
    }

    @Test func `processes of one start go by its monotonic clock, whatever clocks were set to`() {
        for beat in [-hour, 0, hour] {
            #expect(isAlive(record(beat: beat, uptime: 100), at: 115))
            #expect(!isAlive(record(beat: beat, uptime: 100), at: 116))
        }
        #expect(!isAlive(record(machine: nil, beat: 0, uptime: 100), at: 116))
    }

    @Test func `all others go by the database's clock`() {
        for (boot, machine, uptime) in [
            ("other", "m", 100), ("boot", "n", 100), ("boot", "m", nil), ("boot", "m", 9000),
        ] as [(String, String, Int64?)] {
            func process(_ beat: Int64) -> ProcessRecord {
                record(boot: boot, machine: machine, beat: beat, uptime: uptime)
            }
            #expect(isAlive(process(-15), at: 1000))
            #expect(!isAlive(process(-16), at: 1000))
        }
    }

    @Test func `a heartbeat that lies ahead for as long as a lease is a dead one`() {
        var watch = ProcessWatch(own)
        let ahead = record(boot: "other", beat: hour, uptime: nil)
        for second in Int64(0)...15 {
            watch.observe([ahead], now: now, uptime: second * 1000)
            #expect(watch.isAlive(ahead, now: now, uptime: second * 1000), "\(second)")
        }
        #expect(!watch.isAlive(ahead, now: now, uptime: 15_001))
        let beaten = record(boot: "other", beat: hour + 1, uptime: nil)
        watch.observe([beaten], now: now, uptime: 15_001)
        #expect(watch.isAlive(beaten, now: now, uptime: 15_001))
    }

    @Test(arguments: Engine.allCases)
    func `rows of a dead process are closed in time although the clock was set back`(
        on engine: Engine
    ) async throws {
        for boot in ["boot", "other"] {
            let place = try await Place(engine)
            let clock = SetClock(now.milliseconds)
            let dead = try await place.open(clock: clock, process: "dead", boot: boot)
            let living = try await place.open(clock: clock, process: "living")
            for storage in [dead, living] { try await storage.lease.start() }
            let lost = makeEvent()
            dead.events.open(lost)
            try await dead.events.opened(lost.id)
            clock.set(forward: -hour)
            for _ in 0..<3 {
                clock.pass(seconds: 5)
                try await living.lease.renew()
                #expect(try await living.lease.livingProcesses().count == 2)
            }
            clock.pass(seconds: 5)
            try await living.lease.renew()
            if boot == "other" {
                // Its heartbeat was seen to lie ahead with the first renewal after that.
                clock.pass(seconds: 5)
                try await living.lease.renew()
            }
            #expect(try await living.lease.livingProcesses().map(\.id) == ["living"])
            #expect(try await living.event(lost.id)?.text("end") == "error")
            for storage in [dead, living] { await storage.close() }
        }
    }

    @Test
    func
        `a process republishes the final frames of one that renewed before the clock was set back`()
        async throws
    {
        let place = try Place()
        let clock = SetClock(now.milliseconds)
        let dead = try await place.open(clock: clock, process: "dead")
        let living = try await place.open(clock: clock, process: "living")
        for storage in [dead, living] { try await storage.lease.start() }
        let user = try await dead.addUser("asim").user
        let chat = makeChat(of: user.id)
        try await dead.store.create(chat)
        let id = Message.ID(
            UUIDText.version7(milliseconds: now.milliseconds, counter: 0, random: 1))
        let message = NewMessage(
            id: id, chatID: chat.id, userID: user.id, prompt: "p", isOffRecord: false,
            state: .done, idempotencyKey: nil, createdAt: now)
        _ = try await dead.store.begin(message, limit: 8, model: { $0 })
        let told = Told()
        await told.listen(to: living.lease)
        clock.set(forward: -hour)
        for _ in 0..<4 {
            clock.pass(seconds: 5)
            try await living.lease.renew()
        }
        #expect(told.messages.map(\.id) == [id])
        for storage in [dead, living] { await storage.close() }
    }

    @Test func `a machine's id is kept as a digest, and an invalid one is absent`() {
        let digest: ([UInt8]) -> [UInt8] = { Array($0.suffix(16)) + [0] }
        let id = Array("0123456789abcdef0123456789abcdef".utf8)
        let name = ProcessIdentity.machine(id, digest)
        #expect(name?.utf8.count == 32 && name != String(decoding: id, as: UTF8.self))
        for text in ["", "uninitialized", "0123456789ABCDEF0123456789ABCDEF", "0123"] {
            #expect(ProcessIdentity.machine(Array(text.utf8), digest) == nil, "\(text)")
        }
    }
}
