import ProxyGPT
import Testing

@Suite struct LoginThrottleTests {
    private let throttle = LoginThrottle(foldedName: "asim", clientAddress: "192.0.2.1")
    private let lastAt = Timestamp(milliseconds: 1_000_000_000)

    private var pair: String { throttle.keys[0] }
    private var block: String { throttle.keys[1] }
    private var account: String { throttle.keys[2] }

    private func delay(
        _ key: String, _ count: Int64, after milliseconds: Int64 = 0,
        with throttle: LoginThrottle? = nil
    ) -> Int {
        (throttle ?? self.throttle).delay(
            [key: LoginFailures(count: count, lastAt: lastAt)],
            now: Timestamp(milliseconds: lastAt.milliseconds + milliseconds))
    }

    @Test("Four failures cost nothing, the fifth one second, and each further one twice as much")
    func doublesTheDelay() {
        #expect(throttle.delay([:], now: lastAt) == 0)
        let delays = (1...14).map { delay(pair, $0) }
        #expect(delays == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60])
        #expect(delay(pair, .max) == 60)
    }

    @Test("An account that fails from everywhere is slowed by two seconds at most")
    func sparesTheAccount() {
        #expect((4...12).map { delay(account, $0) } == [0, 1, 2, 2, 2, 2, 2, 2, 2])
        #expect(delay(account, .max) == 2)
    }

    @Test("An address block may fail fifty times, whatever the accounts")
    func slowsTheBlock() {
        #expect(delay(block, 49) == 0)
        #expect(delay(block, 50) == 1)
        #expect(delay(block, 56) == 60)
    }

    @Test("Tries that are under way have not failed yet, but no more begin than may still fail")
    func countsTriesUnderWay() {
        func admission(_ key: String, _ count: Int64, _ underWay: Int64) -> LoginThrottle.Admission
        {
            throttle.admission(
                [key: LoginFailures(count: count, lastAt: lastAt, underWay: underWay)],
                now: lastAt.adding(seconds: 3600))
        }
        for key in [pair, account] {
            #expect((0..<5).allSatisfy { admission(key, 0, $0) == .admitted })
            #expect(admission(key, 0, 5) == .undecided)
            #expect(admission(key, 3, 1) == .admitted && admission(key, 3, 2) == .undecided)
            #expect(admission(key, 9, 0) == .admitted && admission(key, 9, 1) == .undecided)
            #expect(admission(key, .max, .max) == .undecided)
        }
        #expect(admission(block, 0, 49) == .admitted && admission(block, 0, 50) == .undecided)
        let failures = [pair: LoginFailures(count: 5, lastAt: lastAt, underWay: 1)]
        #expect(throttle.admission(failures, now: lastAt) == .delayed(1))
    }

    @Test("The longest of the delays counts")
    func takesTheLongest() {
        let failures = [
            pair: LoginFailures(count: 8, lastAt: lastAt),
            account: LoginFailures(count: 99, lastAt: lastAt),
            block: LoginFailures(count: 51, lastAt: lastAt),
        ]
        #expect(throttle.delay(failures, now: lastAt) == 8)
    }

    @Test("The delay is in whole seconds and never too short")
    func passes() {
        #expect(delay(pair, 9, after: 1) == 16)
        #expect(delay(pair, 9, after: 1000) == 15)
        #expect(delay(pair, 9, after: 15_001) == 1)
        #expect(delay(pair, 9, after: 15_999) == 1)
        #expect(delay(pair, 9, after: 16_000) == 0)
        #expect(delay(pair, .max, after: 3_600_000) == 0)
    }

    @Test("A clock that was set back locks no user out")
    func survivesAClockSetBack() {
        for back in [2000, 3_600_000, 86_400_000_000] as [Int64] {
            #expect(delay(pair, 11, after: -back) == 0)
        }
        // Two hosts whose clocks differ a little still slow down.
        #expect(delay(pair, 11, after: -900) == 60)
        #expect(delay(pair, 5, after: .min / 2) == 0)
    }

    @Test("A success forgets the account's failures, but not those of the address")
    func forgetsAtSuccess() {
        #expect(Set(throttle.keys) == [pair, block, account] && throttle.keys.count == 3)
        #expect(Set(throttle.keysOfSuccess) == [pair, account])
        #expect(LoginThrottle.forgetAfter == 3600)
    }

    @Test(
        "An IPv6 client is known by the 64 bits of its network",
        arguments: [
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("2001:db8:1:2::", "2001:db8:1:2::/64"),
            ("2001:db8::1", "2001:db8:0:0::/64"), ("2001:db8:1:2:3::", "2001:db8:1:2::/64"),
            ("::1", "0:0:0:0::/64"), ("::", "0:0:0:0::/64"), ("2001::2:3:4:5:6", "2001:0:0:2::/64"),
            ("2001:db8:0:a::1", "2001:db8:0:a::/64"), ("2001:db8::a:1:2:3:4", "2001:db8:0:a::/64"),
            ("fe80::1%eth0", "fe80:0:0:0::/64"), ("::2:3:4:5:6:7", "0:0:2:3::/64"),
            ("1:2:3:4:5:6:7:8:9:10", "1:2:3:4::/64"), (":::", "0:0:0:0::/64"),
        ])
    func blocksIPv6(address: String, block: String) {
        #expect(LoginThrottle(foldedName: "a", clientAddress: address).block == block)
    }

    @Test(
        "An IPv4 client is known by its whole address, however it is written",
        arguments: [
            ("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("", ""),
            ("unix", "unix"),
        ])
    func blocksIPv4(address: String, block: String) {
        #expect(LoginThrottle(foldedName: "a", clientAddress: address).block == block)
    }

    @Test("Counters of different accounts and addresses are different")
    func keepsKeysApart() {
        let other = LoginThrottle(foldedName: "asim", clientAddress: "192.0.2.2")
        #expect(other.keys[2] == account && other.keys[0] != pair && other.keys[1] != block)
        let tricky = LoginThrottle(foldedName: "b a", clientAddress: "192.0.2.1")
        #expect(Set(tricky.keys).isDisjoint(with: throttle.keys.filter { $0 != block }))
        #expect(delay(pair, 99, with: other) == 0)
    }
}
