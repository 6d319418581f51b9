import Credentials
import Formats
import Testing

@Suite struct RunningSHA256Tests {
    private func digest(_ bytes: [UInt8], pieces size: Int = .max) -> String {
        let digest = RunningSHA256()
        var rest = bytes[...]
        while !rest.isEmpty {
            digest.update(Array(rest.prefix(size)).span)
            rest = rest.dropFirst(size)
        }
        return digest.value.hexadecimal
    }

    @Test("the standard's own vectors")
    func vectors() {
        #expect(
            digest([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(
            digest(Array("abc".utf8))
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(
            digest(Array("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8))
                == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
        #expect(
            digest([UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000))
                == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    @Test("how the bytes are cut does not matter, at any length around a block")
    func pieces() {
        for count in 50...130 {
            let bytes = (0..<count).map { UInt8($0) }
            let whole = digest(bytes)
            for size in [1, 3, 63, 64, 65] { #expect(digest(bytes, pieces: size) == whole) }
        }
    }

    @Test("asking for the digest does not end it")
    func askedTwice() {
        let digest = RunningSHA256()
        digest.update(Array("ab".utf8).span)
        _ = digest.value.hexadecimal
        digest.update(Array("c".utf8).span)
        #expect(digest.value.hexadecimal.hasPrefix("ba7816bf"))
    }
}
