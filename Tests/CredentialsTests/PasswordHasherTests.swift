import Credentials
import ProxyGPT
import Testing

@Suite struct PasswordHasherTests {
    private let hasher: PasswordHasher

    init() throws {
        hasher = try PasswordHasher(cost: cheap)
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

    @Test("An unknown user, and a hash that cannot be read, are wrong whatever the password")
    func refusesTheUnknown() async throws {
        for password in ["bazbar", ""] {
            #expect(try await hasher.check(password, against: nil) == .wrong)
            #expect(try await hasher.check(password, against: "no hash") == .wrong)
        }
    }

    @Test("Two hash at once, thirty-two wait, and whoever comes then is told to try again")
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
