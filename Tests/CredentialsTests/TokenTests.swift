import Credentials
import Formats
import Testing

@Suite struct TokenTests {
    private func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    @Test("A token is 256 random bits in base64url behind a prefix that leak scanners know")
    func makesTokens() throws {
        let token = Token.random()
        #expect(token.text.hasPrefix("pgpt_"))
        #expect(token.text.utf8.count == 5 + 43)
        let secret = token.text.dropFirst(5)
        #expect(secret.utf8.allSatisfy { $0 != 0x2B && $0 != 0x2F && $0 != 0x3D })
        #expect(decodeBase64(secret)?.count == 32)
        #expect(Set((0..<1000).map { _ in Token.random().text }).count == 1000)
    }

    @Test("The digest of a token is the SHA-256 of its whole text")
    func digests() {
        let token = Token.random()
        #expect(token.digest == sha256(Array(token.text.utf8)))
        #expect(Token.digest(of: token.text) == token.digest)
        #expect(Token.digest(of: token.text + " ") != token.digest)
        #expect(Token.digest(of: String(token.text.dropFirst(5))) != token.digest)
    }

    @Test(
        "SHA-256 gives the values of FIPS 180-4",
        arguments: [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
            ),
        ])
    func hashes(text: String, digest: String) {
        #expect(hexadecimal(sha256(Array(text.utf8))) == digest)
    }

    @Test(
        "Base64 encodes and decodes the examples of RFC 4648",
        arguments: [
            ("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"), ("foobar", "Zm9vYmFy"),
        ])
    func encodesExamples(text: String, encoded: String) {
        #expect(base64URL(Array(text.utf8)) == encoded)
        #expect(decodeBase64(encoded) == Array(text.utf8))
        let padding = String(repeating: "=", count: (4 - encoded.utf8.count % 4) % 4)
        #expect(decodeBase64(encoded + padding) == Array(text.utf8))
    }

    @Test("Both alphabets decode, and the URL's own is written")
    func knowsBothAlphabets() {
        #expect(base64URL([0xFB, 0xFF, 0xFE]) == "-__-")
        #expect(decodeBase64("-__-") == [0xFB, 0xFF, 0xFE])
        #expect(decodeBase64("+//+") == [0xFB, 0xFF, 0xFE])
    }

    @Test("Every length of every byte comes back from base64")
    func roundTrips() {
        for length in 0...70 {
            for byte in UInt8.min...UInt8.max {
                let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0) ^ byte }
                guard decodeBase64(base64URL(bytes)) == bytes else {
                    Issue.record("\(bytes)")
                    return
                }
            }
        }
    }

    @Test(
        "What is no base64 is refused",
        arguments: [
            "A", "AAAAA", "=", "==", "A=", "AA=", "A===", "AA===", "AAA==", "AAAA=", "Zg==Zg==",
            "Z=g=",
            "Zm9v\n", " Zm9v", "Zm 9v", "Zm9v!", "Zé9v", "Zm9v====",
        ])
    func refusesOthers(text: String) {
        #expect(decodeBase64(text) == nil)
    }

    @Test("Randomness is as long as asked for, and never the same")
    func givesRandomness() {
        #expect(Randomness.bytes(0) == [])
        #expect(Randomness.bytes(33).count == 33)
        #expect(Set((0..<1000).map { _ in Randomness.bytes(8) }).count == 1000)
        #expect(Randomness.bytes(4096).reduce(0) { $0 | $1 } == 0xFF)
    }
}
