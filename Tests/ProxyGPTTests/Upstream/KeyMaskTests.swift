import ProxyGPT
import TestSupport
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
        let mask = KeyMask(key: Secret(key))
        expect("a \(key), \(key)\(key).", becomes: "a \(stars(26)), \(stars(52)).", by: mask)
        expect("\(key)", becomes: stars(26), by: mask)
    }

    @Test("Runs of twelve bytes and more are masked, those of eleven pass")
    func masksRuns() {
        let mask = KeyMask(key: Secret(key))
        expect(
            "Incorrect API key: sk-canary-01****bcdef",
            becomes: "Incorrect API key: \(stars(12))****bcdef", by: mask)
        expect(
            "sk-canary-0 456789abcdef 56789abcdef sk-canary",
            becomes: "sk-canary-0 \(stars(12)) 56789abcdef sk-canary", by: mask)
        expect("sk-canary-0.sk-canary-0", becomes: "sk-canary-0.sk-canary-0", by: mask)
        expect("nary-01234567x", becomes: "\(stars(13))x", by: mask)
        expect("sk-canask-canary-0123", becomes: "sk-cana\(stars(14))", by: mask)
        expect("sk-canary-01k-canary-012", becomes: stars(24), by: mask)
    }

    @Test("A key that repeats itself is found in every place")
    func findsOverlaps() {
        let mask = KeyMask(key: Secret("Aaaaaaaaaaaaaaaab"))
        expect("aaaaaaaaaaaaaaaay aaaaaaaaaaa", becomes: "\(stars(16))y aaaaaaaaaaa", by: mask)
        let periodic = KeyMask(key: Secret("1bcabcabcabcabca2"))
        expect("xbcabcabcabcabcabcx", becomes: "x\(stars(17))x", by: periodic)
    }

    @Test("A text that ends in the beginning of a run comes out whole at the end")
    func releasesTheRest() {
        let mask = KeyMask(key: Secret(key))
        expect("see sk-canary-0", becomes: "see sk-canary-0", by: mask)
        expect("k", becomes: "k", by: mask)
        expect("", becomes: "", by: mask)
    }

    @Test("Only what may be the beginning of a run is kept back")
    func keepsBackLittle() {
        var mask = KeyMask(key: Secret(key))
        #expect(mask.feed(Array("data: sk-ca".utf8)) == Array("data: ".utf8))
        #expect(mask.feed(Array("t and dog\n\n".utf8)) == Array("sk-cat and dog\n\n".utf8))
        #expect(mask.feed(Array("plain.".utf8)) == Array("plain.".utf8))
        #expect(mask.feed(Array("bcdef".utf8)) == Array("bcdef".utf8))
        #expect(mask.feed(Array("\(key.dropLast(3))".utf8)) == Array(stars(23).utf8))
        #expect(mask.feed(Array("def.".utf8)) == Array("***.".utf8))
        #expect(mask.finish() == [])
    }

    @Test("What had to leave early does not save the rest of a run")
    func remembersWhatLeft() {
        var mask = KeyMask(key: Secret(key))
        #expect(mask.feed(Array("sk-canary".utf8)) == [])
        #expect(mask.release() == Array("sk-canary".utf8))
        #expect(mask.feed(Array("-0123".utf8)) == Array(stars(5).utf8))
        #expect(mask.release() == [])
        #expect(mask.finish() == [])
        #expect(mask.feed(Array("456789".utf8)) + mask.finish() == Array("456789".utf8))
    }

    @Test("Few bytes leave at once where one asks for it, and do not save the rest either")
    func letsFewLeave() {
        var mask = KeyMask(key: Secret(key))
        func feed(_ text: String) -> String {
            let bytes = mask.feed(Array(text.utf8), keepingAtLeast: 4)
            return String(decoding: bytes, as: UTF8.self)
        }
        #expect(feed("a dark sk-") == "a dark sk-")
        #expect(feed("can") == "")
        #expect(feed("ary") == "")
        #expect(feed("-01") == stars(9))
        #expect(feed("2") == "*")
        #expect(feed("x sk") == "x sk")
        #expect(feed("-canary-01.") == "\(stars(10)).")
        #expect(mask.finish() == [])
    }

    @Test("Bytes that left early are not sent again")
    func sendsOnce() {
        var mask = KeyMask(key: Secret(key))
        #expect(mask.feed(Array("sk-can".utf8)) == [])
        #expect(mask.release() == Array("sk-can".utf8))
        #expect(mask.feed(Array("ary".utf8)) == [])
        #expect(mask.feed(Array(".".utf8)) == Array("ary.".utf8))
    }

    @Test("A copy begins a new text")
    func copiesWithoutState() {
        let mask = KeyMask(key: Secret(key))
        var first = mask
        _ = first.feed(Array("sk-canary".utf8))
        var second = mask
        #expect(second.feed(Array("-01".utf8)) + second.finish() == Array("-01".utf8))
    }

    @Test("Random keys and texts made of parts of them, against a mask that looks at every place")
    func agreesWithTheSlowWay() {
        var generator = SeededGenerator(seed: 12)
        for _ in 0..<2000 {
            let alphabet = Array("abc1".utf8)
            let key =
                [UInt8(ascii: "Z")]
                + (0..<Int.random(in: 15...40, using: &generator)).map { _ in
                    alphabet[Int.random(in: 0..<4, using: &generator)]
                }
            var text: [UInt8] = []
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                let start = Int.random(in: 0..<key.count, using: &generator)
                let end = Int.random(in: start...key.count, using: &generator)
                text += key[start..<end]
                if Bool.random(using: &generator) { text.append(UInt8(ascii: ".")) }
            }
            var expected = text
            for start in 0..<max(0, text.count - 11) {
                let run = text[start..<(start + 12)]
                let isOfKey = (0...(key.count - 12)).contains {
                    key[$0..<($0 + 12)].elementsEqual(run)
                }
                if isOfKey { for index in run.indices { expected[index] = UInt8(ascii: "*") } }
            }
            var mask = KeyMask(key: Secret(String(decoding: key, as: UTF8.self)))
            #expect(mask.masked(text) == expected)
            var result: [UInt8] = []
            var rest = text[...]
            while !rest.isEmpty {
                let piece = rest.prefix(Int.random(in: 1...9, using: &generator))
                rest = rest.dropFirst(piece.count)
                result += mask.feed(Array(piece))
            }
            #expect(result + mask.finish() == expected)
        }
    }

    @Test(
        "A word is no secret and masks nothing",
        arguments: [
            "", "a", "123456789012345", "lm-studio", "not-needed-for-this-server", "sk-short-1",
        ])
    func ignoresWords(key: String) {
        #expect(KeyMask.isWord(Array(key.utf8)))
        let mask = KeyMask(key: Secret(key))
        expect("a \(key)\(key) 1", becomes: "a \(key)\(key) 1", by: mask)
        #expect(KeyMask(key: nil).masked(key) == key)
    }

    @Test(
        "Sixteen bytes with a digit, a capital or another sign are a key",
        arguments: [
            "lm-studio-server1", "not-needed-Today", "1234567890123456", "a_bcdefghijklmno",
        ])
    func masksWhatIsNoWord(key: String) {
        #expect(!KeyMask.isWord(Array(key.utf8)))
        let mask = KeyMask(key: Secret(key))
        #expect(mask.masked("a \(key).") == "a \(stars(key.utf8.count)).")
    }
}
