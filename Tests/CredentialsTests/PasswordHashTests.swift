import Credentials
import Formats
import Testing

/// Cheap enough for tests; what it protects is nothing.
let cheap = PasswordHash.Cost(logarithm: 4, blockSize: 1, parallelism: 1)

@Suite struct PasswordHashTests {
    @Test("The right password matches and every other one does not")
    func matches() throws {
        let hash = try PasswordHash(of: "correct horse", cost: cheap)
        #expect(try hash.matches("correct horse"))
        for wrong in ["correct hors", "correct horse ", "Correct horse", ""] {
            #expect(try !hash.matches(wrong))
        }
    }

    @Test("Hashes of one password differ, since each has salt of its own")
    func salts() throws {
        let first = try PasswordHash(of: "bazbar", cost: cheap)
        let second = try PasswordHash(of: "bazbar", cost: cheap)
        #expect(first.encoded != second.encoded)
        #expect(try second.matches("bazbar"))
    }

    @Test("An encoded hash reads back with its cost and says nothing of the password")
    func encodes() throws {
        let hash = try PasswordHash(of: "bazbar", cost: cheap)
        #expect(hash.encoded.hasPrefix("scrypt$ln=4,r=1,p=1$"))
        #expect(!hash.encoded.contains("bazbar"))
        let again = try #require(PasswordHash(encoded: hash.encoded))
        #expect(again == hash)
        #expect(again.cost == cheap)
        #expect(try again.matches("bazbar"))
        #expect(try !again.matches("bazbaz"))
    }

    @Test("The hash is scrypt as RFC 7914 defines it")
    func computesTheStandardsVector() throws {
        // Section 12: "pleaseletmein", "SodiumChloride", N = 16384, r = 8, p = 1; the first 32 bytes.
        let expected: [UInt8] = [
            0x70, 0x23, 0xBD, 0xCB, 0x3A, 0xFD, 0x73, 0x48, 0x46, 0x1C, 0x06, 0xCD, 0x81, 0xFD,
            0x38, 0xEB,
            0xFD, 0xA8, 0xFB, 0xBA, 0x90, 0x4F, 0x8E, 0x3E, 0xA9, 0xB5, 0x43, 0xF6, 0x54, 0x5D,
            0xA1, 0xF2,
        ]
        let salt = base64URL(Array("SodiumChloride".utf8))
        let text = "scrypt$ln=14,r=8,p=1$\(salt)$\(base64URL(expected))"
        #expect(try #require(PasswordHash(encoded: text)).matches("pleaseletmein"))
    }

    @Test("What users pay is 32 MiB in three lanes")
    func hasAStandardCost() {
        let standard = PasswordHash.Cost.standard(logarithm: 15)
        #expect(standard == .init(logarithm: 15, blockSize: 8, parallelism: 3))
    }

    private static let hash = String(repeating: "A", count: 43)

    @Test(
        "A malformed encoding is refused",
        arguments: [
            "", "scrypt", "scrypt$$$", "bcrypt$ln=4,r=1,p=1$AAAA$\(hash)",
            "$ln=4,r=1,p=1$AAAA$\(hash)",
            "scrypt$ln=4,r=1$AAAA$\(hash)", "scrypt$ln=4,r=1,p=1,x=1$AAAA$\(hash)",
            "scrypt$ln=0,r=1,p=1$AAAA$\(hash)", "scrypt$ln=23,r=1,p=1$AAAA$\(hash)",
            "scrypt$ln=4,r=0,p=1$AAAA$\(hash)", "scrypt$ln=4,r=33,p=1$AAAA$\(hash)",
            "scrypt$ln=4,r=1,p=0$AAAA$\(hash)", "scrypt$ln=4,r=1,p=17$AAAA$\(hash)",
            "scrypt$ln=-4,r=1,p=1$AAAA$\(hash)", "scrypt$ln=x,r=1,p=1$AAAA$\(hash)",
            "scrypt$ln=99999999999999999999,r=1,p=1$AAAA$\(hash)", "scrypt$4,1,1$AAAA$\(hash)",
            "scrypt$ln=4,r=1,p=1$A$\(hash)", "scrypt$ln=4,r=1,p=1$A!AA$\(hash)",
            "scrypt$ln=4,r=1,p=1$AAAA$AAAA", "scrypt$ln=4,r=1,p=1$AAAA$\(hash)AA",
            "scrypt$ln=4,r=1,p=1$AAAA$\(hash)$", "scrypt$ln=4,r=1,p=1$AAAA", "x\u{0}",
        ])
    func refusesMalformedEncodings(text: String) {
        #expect(PasswordHash(encoded: text) == nil)
    }
}
