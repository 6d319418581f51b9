import Credentials
import Testing

@testable import MockUpstream

@Suite("Multipart forms")
struct MultipartTests {
    private let body = Array(
        ("--XX\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nassistants\r\n"
            + "--XX\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a b.bin\"\r\n"
            + "Content-Type: application/octet-stream\r\n\r\n\r\n--X\r\n--XY\r\n\r\n"
            + "--XX\r\nContent-Disposition: form-data; name=empty\r\n\r\n\r\n--XX--\r\n").utf8)

    private func parse(_ bytes: [UInt8], pieces sizes: [Int]) -> MultipartReader {
        var reader = MultipartReader(boundary: "XX")
        var rest = bytes[...]
        for size in sizes {
            reader.update(rest.prefix(size))
            rest = rest.dropFirst(size)
        }
        reader.update(rest)
        return reader
    }

    private func check(_ reader: MultipartReader) {
        #expect(reader.isComplete)
        #expect(reader.parts.map(\.name) == ["purpose", "file", "empty"])
        #expect(reader.parts.map(\.filename) == [nil, "a b.bin", nil])
        let contents = reader.parts.map { String(decoding: $0.beginning, as: UTF8.self) }
        #expect(contents == ["assistants", "\r\n--X\r\n--XY\r\n", ""])
        #expect(reader.parts.map(\.byteCount) == [10, 13, 0])
    }

    @Test("a form is read the same wherever it is split")
    func split() {
        check(parse(body, pieces: []))
        for place in body.indices { check(parse(body, pieces: [place])) }
        check(parse(body, pieces: [Int](repeating: 1, count: body.count)))
    }

    @Test("a form is complete only with its closing delimiter")
    func truncated() {
        // The last four bytes are the delimiter's own dashes and a line end after them.
        for end in 0..<(body.count - 2) {
            #expect(!parse(Array(body[..<end]), pieces: []).isComplete)
        }
    }

    @Test("a large part keeps its beginning, its size and its digest only")
    func large() {
        let content = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let head = "--XX\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n"
        let form = Array(head.utf8) + content + Array("\r\n--XX--".utf8)
        let reader = parse(form, pieces: [Int](repeating: 4093, count: 60))
        let digest = RunningSHA256()
        digest.update(content.span)
        #expect(reader.isComplete)
        #expect(reader.parts.first?.byteCount == content.count)
        #expect(reader.parts.first?.digest.value == digest.value)
        #expect(reader.parts.first?.beginning.count == MultipartReader.Part.keptBytes)
    }

    @Test("a body that is no form is incomplete")
    func broken() {
        #expect(!parse(Array("hello".utf8), pieces: []).isComplete)
        #expect(!parse(Array("--XX!!\r\n\r\n--XX--".utf8), pieces: []).isComplete)
        let endless = Array("--XX\r\n".utf8) + [UInt8](repeating: 0x41, count: 100_000)
        #expect(!parse(endless + Array("\r\n\r\n--XX--".utf8), pieces: []).isComplete)
    }

    @Test("the boundary is found in the header's forms")
    func boundaries() {
        func boundary(_ value: String) -> String? {
            MultipartReader.boundary(inContentType: value)
        }
        #expect(boundary("multipart/form-data; boundary=abc") == "abc")
        #expect(boundary("Multipart/Form-Data; charset=x; Boundary=\"a b\"") == "a b")
        #expect(boundary("multipart/form-data") == nil)
        #expect(boundary("application/json; boundary=abc") == nil)
        #expect(boundary("") == nil)
    }
}
