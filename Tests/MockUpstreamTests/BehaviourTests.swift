import Testing

@testable import MockUpstream

@Suite("The options of a single call")
struct BehaviourTests {
    private func read(_ query: String) throws -> Behaviour {
        var behaviour = Behaviour()
        try behaviour.read(query[...])
        return behaviour
    }

    @Test("an empty query asks for nothing")
    func nothing() throws {
        #expect(try read("") == Behaviour())
    }

    @Test("numbers, flags and headers are read together")
    func together() throws {
        let behaviour = try read(
            "chunks=5&chunk-delay-ms=20&endless&hang=0&close=true&retry-after=3"
                + "&header=X-A:%20one+two&header=X-B:")
        var expected = Behaviour()
        expected.chunks = 5
        expected.chunkDelay = 20
        expected.isEndless = true
        expected.closes = true
        expected.retryAfter = "3"
        expected.headers = [
            Header(name: "X-A", value: "one two"), Header(name: "X-B", value: ""),
        ]
        #expect(behaviour == expected)
    }

    @Test("a name may be prefixed, and a later value wins")
    func prefixed() throws {
        #expect(try read("mock-bytes=10&bytes=20").bytes == 20)
        #expect(try read("bytes=20&mock-bytes=10").bytes == 10)
    }

    @Test("what is not ours is ignored, even when it is broken")
    func foreign() throws {
        #expect(try read("limit=x&after=%zz&=&&&chunkss=1&%zz") == Behaviour())
    }

    @Test(
        "a value that makes no sense is told by its option's name",
        arguments: [
            ("chunks=", "chunks"), ("chunks=-1", "chunks"), ("chunks=%zz", "chunks"),
            ("chunks=99999999999999999999", "chunks"), ("status=199", "status"),
            ("status=600", "status"), ("hang=maybe", "hang"), ("header=novalue", "header"),
            ("header=:x", "header"), ("header=A%20B:x", "header"),
            ("header=A:x%0d%0aB:y", "header"),
            ("header=A:%0d", "header"), ("retry-after=1%0a", "retry-after"),
            ("mock-bytes=x", "bytes"),
        ])
    func senseless(query: String, option: String) {
        #expect(throws: Behaviour.BadOption(name: option)) { try read(query) }
    }

    @Test("the second source adds to the first")
    func twoSources() throws {
        var behaviour = try read("chunks=3&header=A:1")
        try behaviour.read("chunks=4&header=B:2"[...])
        #expect(behaviour.chunks == 4)
        #expect(behaviour.headers.map(\.name) == ["A", "B"])
    }
}
