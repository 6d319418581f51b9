import Formats
import ProxyGPT
import TestSupport
import Testing

@Suite struct IdentifierTests {
    @Test("A UUID of version 7 has the bits of RFC 9562's example")
    func formatsTheExampleOfTheStandard() {
        // RFC 9562, appendix A.6.
        let text = UUIDText.version7(
            milliseconds: 0x017F_22E2_79B0, counter: 0xCC3, random: 0x18C4_DC0C_0C07_398F)
        #expect(text == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f")
    }

    @Test("Version and variant stand whatever the numbers are")
    func keepsVersionAndVariant() {
        let low = UUIDText.version7(milliseconds: 0, counter: 0, random: 0)
        #expect(low == "00000000-0000-7000-8000-000000000000")
        let high = UUIDText.version7(milliseconds: -1, counter: .max, random: .max)
        #expect(high == "ffffffff-ffff-7fff-bfff-ffffffffffff")
    }

    @Test("Ids sort by time first, then by counter")
    func sortsByTimeAndCounter() {
        let ids = [
            UUIDText.version7(milliseconds: 1, counter: 0xFFF, random: .max),
            UUIDText.version7(milliseconds: 2, counter: 0, random: 7),
            UUIDText.version7(milliseconds: 2, counter: 1, random: 0),
            UUIDText.version7(milliseconds: 0x1_0000, counter: 0, random: 0),
        ]
        #expect(ids == ids.sorted())
    }

    @Test("Numbers are of their range, and all of it")
    func spreads() {
        let ids = TestIdentifiers()
        #expect(Set((0..<200).map { _ in ids.number(in: -2...4) }) == Set(-2...4))
        #expect(ids.number(in: 7...7) == 7)
        #expect((Int64.min...Int64.max).contains(ids.number(in: Int64.min...Int64.max)))
    }

    @Test(
        "A text is shaped like a UUID in either case",
        arguments: [
            "017f22e2-79b0-7cc3-98c4-dc0c0c07398f", "017F22E2-79B0-7CC3-98C4-DC0C0C07398F",
            "00000000-0000-0000-0000-000000000000",
        ])
    func knowsTheShape(text: String) {
        #expect(UUIDText.isShaped(text))
    }

    @Test(
        "Texts that resemble a UUID are refused",
        arguments: [
            "", "017f22e2", "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
            "017f22e279b07cc398c4dc0c0c07398f",
            "017f22e2-79b0-7cc3-98c4-dc0c0c07398g", "017f22e2_79b0-7cc3-98c4-dc0c0c07398f",
            "017f22e2-79b0-7cc3-98c4-dc0c0c07398f ", "0-7f22e2179b0-7cc3-98c4-dc0c0c07398f",
        ])
    func refusesOtherShapes(text: String) {
        #expect(!UUIDText.isShaped(text))
    }

    @Test("Only hexadecimal digits are read, in either case")
    func readsHexadecimalDigits() {
        for byte in UInt8.min...UInt8.max {
            let text = String(decoding: [byte], as: UTF8.self)
            let expected =
                text.utf8.count == 1 && byte != 0x2B && byte != 0x2D ? UInt8(text, radix: 16) : nil
            #expect(hexadecimalValue(byte) == expected)
        }
        #expect((0...15).map { hexadecimalDigit($0) } == Array("0123456789abcdef".utf8))
    }
}
