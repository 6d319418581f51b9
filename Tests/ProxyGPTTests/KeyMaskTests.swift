import ProxyGPT
import Testing

@Suite struct KeyMaskTests {
    private let key = "sk-canary-0123456789abcdef"

    private func masked(_ text: String, _ mask: KeyMask, splitAt splits: [Int]) -> String {
        let bytes = Array(text.utf8)
        var mask = mask
        var result: [UInt8] = []
        var start = 0
        for split in splits + [bytes.count] {
            result += mask.feed(Array(bytes[start..<split]))
            start = split
        }
        result += mask.finish()
        return String(decoding: result, as: UTF8.self)
    }

    private func expect(_ text: String, becomes expected: String, by mask: KeyMask) {
        for first in 0...text.utf8.count {
            for second in first...text.utf8.count {
                let result = masked(text, mask, splitAt: [first, second])
                guard result == expected else {
                    Issue.record("split at \(first) and \(second): \(result)")
                    return
                }
            }
        }
        #expect(masked(text, mask, splitAt: Array(0..<text.utf8.count)) == expected)
        #expect(mask.masked(text) == expected)
    }

    private func stars(_ count: Int) -> String { String(repeating: "*", count: count) }

    @Test("A whole key becomes as many asterisks wherever the text is split")
    func masksTheWholeKey() {
        let mask = KeyMask(key: Array(key.utf8), partial: false)
        expect("a \(key), \(key)\(key).", becomes: "a \(stars(26)), \(stars(52)).", by: mask)
    }

    @Test("The whole-key mask leaves parts of the key alone")
    func leavesPartsOfTheKey() {
        let mask = KeyMask(key: Array(key.utf8), partial: false)
        let text = "sk-canary-0123456789abcde sk-canary k-canary-0123456789abcdef"
        expect(text, becomes: text, by: mask)
    }

    @Test("The partial mask hides every run of eight bytes or more")
    func masksPartsOfTheKey() {
        let mask = KeyMask(key: Array(key.utf8), partial: true)
        expect(
            "Incorrect API key: sk-canar****cdef",
            becomes: "Incorrect API key: \(stars(8))****cdef",
            by: mask)
        expect(
            "canary-0123456 9abcdef 89abcdef", becomes: "\(stars(14)) 9abcdef \(stars(8))", by: mask
        )
        expect("\(key)", becomes: stars(26), by: mask)
        expect("sk-canasknary-0123", becomes: "sk-canask\(stars(9))", by: mask)
    }

    @Test("Overlapping beginnings of a key are all found")
    func findsOverlaps() {
        let mask = KeyMask(key: Array("aaaaaaab".utf8), partial: false)
        expect("aaaaaaaaaaab", becomes: "aaaa\(stars(8))", by: mask)
        let twice = KeyMask(key: Array("abcabcabcabc".utf8), partial: false)
        expect("abcabcabcabcabc", becomes: stars(15), by: twice)
        let partial = KeyMask(key: Array("aaaaaaaaaaaa".utf8), partial: true)
        expect("xaaaaaaaaaaaaaaay aaaaaaa", becomes: "x\(stars(15))y aaaaaaa", by: partial)
    }

    @Test("A text that ends in the beginning of a key comes out whole at the end")
    func releasesTheRest() {
        let mask = KeyMask(key: Array(key.utf8), partial: false)
        expect("see sk-canary-01234567", becomes: "see sk-canary-01234567", by: mask)
    }

    @Test("Only what may be the beginning of a key is kept back")
    func keepsBackLittle() {
        var mask = KeyMask(key: Array(key.utf8), partial: false)
        #expect(mask.feed(Array("data: sk-ca".utf8)) == Array("data: ".utf8))
        #expect(mask.feed(Array("t and dog\n\n".utf8)) == Array("sk-cat and dog\n\n".utf8))
        #expect(mask.feed(Array("plain".utf8)) == Array("plain".utf8))
        #expect(mask.finish() == [])
    }

    @Test("A copy begins a new text")
    func copiesWithoutState() {
        let mask = KeyMask(key: Array(key.utf8), partial: false)
        var first = mask
        _ = first.feed(Array("sk-canary".utf8))
        var second = mask
        #expect(
            second.feed(Array("-0123456789abcdef".utf8)) + second.finish()
                == Array("-0123456789abcdef".utf8))
    }

    @Test(
        "A key that is too short to be a secret masks nothing",
        arguments: ["", "a", "test", "1234567"])
    func ignoresShortKeys(key: String) {
        for partial in [false, true] {
            let mask = KeyMask(key: Array(key.utf8), partial: partial)
            expect("a test 1234567", becomes: "a test 1234567", by: mask)
        }
    }

    @Test("Errors are masked in part, successes as a whole, and without a key nothing is")
    func choosesByStatus() {
        let masks = KeyMasks(key: Secret(key))
        #expect(masks.mask(forStatus: 200).masked("sk-canary-") == "sk-canary-")
        #expect(masks.mask(forStatus: 399).masked("sk-canary-") == "sk-canary-")
        #expect(masks.mask(forStatus: 400).masked("sk-canary-") == stars(10))
        #expect(masks.mask(forStatus: 503).masked(key) == stars(26))
        #expect(KeyMasks(key: nil).partial.masked(key) == key)
    }
}
