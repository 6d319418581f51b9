import Credentials
import EventLoop
import ProxyGPT
import Synchronization
import TestSupport
import Testing

private final class Order: Sendable {
    private let state = Mutex<[Int]>([])

    var numbers: [Int] { state.withLock { $0 } }

    func note(_ number: Int) { state.withLock { $0.append(number) } }
}

@Suite struct PasswordHasherTests {
    private let hasher: PasswordHasher

    init() throws {
        // A busy machine takes longer than users wait.
        hasher = try PasswordHasher(cost: cheap, waitLimit: 120_000)
    }

    @Test("A password checks against its own hash")
    func checks() async throws {
        let encoded = try await hasher.hash("bazbar")
        #expect(try await hasher.check("bazbar", against: encoded) == .right)
        #expect(try await hasher.check("bazbaz", against: encoded) == .wrong)
    }

    @Test("A hash of another cost is right, and comes back at today's cost")
    func strengthens() async throws {
        let old = try PasswordHash(
            of: "bazbar", cost: .init(logarithm: 3, blockSize: 1, parallelism: 1))
        let verdict = try await hasher.check("bazbar", against: old.encoded)
        guard case .rightButWeak(let stronger) = verdict else {
            Issue.record("\(verdict)")
            return
        }
        #expect(PasswordHash(encoded: stronger)?.cost == cheap)
        #expect(try await hasher.check("bazbar", against: stronger) == .right)
        #expect(try await hasher.check("bazbaz", against: old.encoded) == .wrong)
    }

    @Test(
        "A password is one, whatever the order of its marks, and an older hash of its bytes is renewed"
    )
    func normalizes() async throws {
        let composed = "pass\u{E9}\u{1E69}word"
        let decomposed = "passe\u{301}s\u{307}\u{323}word"
        #expect(!composed.utf8.elementsEqual(decomposed.utf8))
        let encoded = try await hasher.hash(decomposed)
        #expect(try await hasher.check(composed, against: encoded) == .right)
        #expect(try await hasher.check(decomposed, against: encoded) == .right)
        let older = try PasswordHash(of: decomposed, cost: cheap).encoded
        #expect(try await hasher.check(composed, against: older) == .wrong)
        let verdict = try await hasher.check(decomposed, against: older)
        guard case .rightButWeak(let stronger) = verdict else {
            Issue.record("\(verdict)")
            return
        }
        for password in [composed, decomposed] {
            #expect(try await hasher.check(password, against: stronger) == .right)
        }
    }

    @Test("The longest run of combining marks is normalized in no time that counts")
    func normalizesTheLongest() async throws {
        let marks = String(repeating: "\u{301}\u{323}", count: 255)
        let password = "a" + marks
        let encoded = try await hasher.hash(password)
        #expect(try await hasher.check(password, against: encoded) == .right)
    }

    @Test(
        "Of one user name one hash is under way, others wait their turn, and too many are refused")
    func takesTurns() async throws {
        EventLoop.startOnOwnThread()
        let gate = Gate()
        let (begun, beginning) = AsyncStream.makeStream(of: Void.self)
        let order = Order()
        async let first: Void = hasher.inTurn(of: "asim", for: .login) {
            beginning.finish()
            await gate.wait()
            order.note(0)
        }
        for await _ in begun {}
        let tasks = (1...20).map { number in
            Task { @MainActor in
                try await hasher.inTurn(of: "asim", for: .login) {
                    order.note(number)
                }
            }
        }
        // The last of them are refused at once; nobody else is concerned, nor a password change.
        for task in tasks.suffix(4) {
            let failure = await #expect(throws: Failure.self) { try await task.value }
            #expect(failure?.code == .rateLimited && failure?.retryAfter == 1)
        }
        #expect(try await hasher.inTurn(of: "other", for: .login) { 1 } == 1)
        #expect(try await hasher.inTurn(of: "asim", for: .change) { 2 } == 2)
        #expect(order.numbers == [])
        gate.open()
        try await first
        for task in tasks.prefix(16) { try await task.value }
        #expect(order.numbers == Array(0...16))
        #expect(try await hasher.inTurn(of: "asim", for: .login) { 3 } == 3)
    }

    @Test("A turn that does not come in time is refused")
    func givesUp() async throws {
        EventLoop.startOnOwnThread()
        let turns = HashTurns(waitLimit: 1)
        let failure = await #expect(throws: Failure.self) {
            try await turns.run([1]) { try await turns.run([1]) {} }
        }
        #expect(failure?.code == .rateLimited)
        #expect(try await turns.run([1]) { 1 } == 1)
    }

    @Test("An unknown user, and a hash that cannot be read, are wrong whatever the password")
    func refusesTheUnknown() async throws {
        for password in ["bazbar", ""] {
            #expect(try await hasher.check(password, against: nil) == .wrong)
            #expect(try await hasher.check(password, against: "no hash") == .wrong)
        }
    }

    @Test("While one password is hashed and thirty-two wait, the next is refused with 503")
    func boundsTheQueue() async throws {
        // Long enough that none is done before all have asked, which they do on the main actor, one
        // after another, however busy the other tests keep the machine.
        let slow = try PasswordHasher(cost: .init(logarithm: 15, blockSize: 8, parallelism: 2))
        let tasks = (0..<60).map { _ in
            Task { @MainActor in try await slow.check("x", against: nil) }
        }
        var results: [Result<PasswordHasher.Verdict, any Error>] = []
        for task in tasks { results.append(await task.result) }
        let failures = results.compactMap { result in
            if case .failure(let error) = result { error as? Failure } else { nil }
        }
        let successes = results.count - failures.count
        #expect((32...40).contains(successes), "\(successes) were served")
        #expect(failures.allSatisfy { $0.code == .unavailable && $0.retryAfter == 2 })
        // The queue has emptied: there is room again.
        #expect(try await slow.check("x", against: nil) == .wrong)
    }
}
