import ProxyGPT
import Testing

@testable import Credentials

@Suite struct MessageKeyTests {
    @Test func `codes are those of RFC 4231, cut`() {
        // Test cases 1, 2 and 4.
        let cases: [(key: [UInt8], data: [UInt8], code: String)] = [
            (
                [UInt8](repeating: 0x0B, count: 20), Array("Hi There".utf8),
                "b0344c61d8db38535ca8afceaf0bf12b"
            ),
            (
                Array("Jefe".utf8), Array("what do ya want for nothing?".utf8),
                "5bdcc146bf60754e6a042426089575c7"
            ),
            (
                Array(1...25), [UInt8](repeating: 0xCD, count: 50),
                "82558a389a443c0ea4cc819899f2083a"
            ),
        ]
        for (key, data, code) in cases {
            let key = MessageKey(key)
            #expect(hex(key.code(of: data)) == code)
            #expect(hex(key.code(of: [], Array(data.prefix(3)), Array(data.dropFirst(3)))) == code)
        }
    }

    @Test func `installations are like no other, and so are the keys of one`() throws {
        let (one, two) = (Installation.random(), Installation.random())
        #expect(one.name != two.name && one.secret != two.secret)
        #expect(Installation(name: one.name, secret: one.secret) == one)
        let codes = [one, two].flatMap { [$0.keys.windows, $0.keys.frames] }
            .map { hex($0.code(of: [1])) }
        #expect(Set(codes).count == 4)
        #expect(!"\(one)".contains("\(one.secret)"))
    }

    @Test(arguments: [
        "", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF", "0123456789abcde:",
    ])
    func `what is no name makes no installation`(name: String) {
        let secret = [UInt8](repeating: 1, count: 32)
        #expect(Installation(name: name, secret: secret) == nil)
        #expect(Installation(name: "0123456789abcdef", secret: Array(secret.dropLast())) == nil)
    }

    private func hex(_ bytes: [UInt8]) -> String {
        bytes.map { $0 < 16 ? "0" + String($0, radix: 16) : String($0, radix: 16) }.joined()
    }
}
