// The options of a single call: delays, pieces, cuts and wrong answers on demand.
//
// They are in the query string, or in the model's name after a "?". Unknown names are ignored,
// since a query belongs to the endpoint; a known name with an invalid value is an error, so that a
// test with a typing mistake does not pass by luck.

import Formats

/// The behaviour of one call's answer.
struct Behaviour: Equatable {
    /// The name of an option with an invalid value.
    struct BadOption: Error, Equatable {
        let name: String
    }

    var headDelay = 0
    var chunkDelay = 0
    var chunks: Int?
    var cutAfter: Int?
    var cutAfterBytes: Int?
    var bytes: Int?
    var status: Int?
    var retryAfter: String?
    var headers: [Header] = []
    var isGarbage = false
    var isGarbageJSON = false
    var isEndless = false
    var hasEmptyChoices = false
    var hasNoContentLength = false
    var quotesKey = false
    var closes = false
    var hangs = false
    var hasMarks = false

    /// The number of pieces of a streamed answer.
    var pieceCount: Int { chunks ?? 8 }

    /// Whether a body is sent in several writes though one would do.
    var splitsBody: Bool { chunks != nil || cutAfter != nil || chunkDelay > 0 || isEndless }

    /// Adds the options of a query string to the present ones.
    mutating func read(_ query: Substring) throws(BadOption) {
        for (rawName, rawValue) in QueryParameters(query) {
            let name = rawName.hasPrefix("mock-") ? rawName.dropFirst(5) : rawName
            let option = Option(name: name, rawValue: rawValue)
            switch name {
            case "head-delay-ms": headDelay = try option.integer(0...3_600_000)
            case "chunk-delay-ms": chunkDelay = try option.integer(0...3_600_000)
            case "chunks": chunks = try option.integer(0...10_000_000)
            case "cut-after": cutAfter = try option.integer(0...10_000_000)
            case "cut-after-bytes": cutAfterBytes = try option.integer(0...1 << 30)
            case "bytes": bytes = try option.integer(0...1 << 30)
            case "status": status = try option.integer(200...599)
            case "retry-after": retryAfter = try option.headerValue()
            case "header": headers.append(try option.header())
            case "garbage": isGarbage = try option.flag()
            case "garbage-json": isGarbageJSON = try option.flag()
            case "endless": isEndless = try option.flag()
            case "empty-choices": hasEmptyChoices = try option.flag()
            case "no-content-length": hasNoContentLength = try option.flag()
            case "quote-key": quotesKey = try option.flag()
            case "close": closes = try option.flag()
            case "hang": hangs = try option.flag()
            case "marks": hasMarks = try option.flag()
            default: break
            }
        }
    }

    /// One option with its raw value, which is decoded only when the name is known.
    struct Option {
        let name: Substring
        let rawValue: Substring

        var bad: BadOption { BadOption(name: String(name)) }

        func text() throws(BadOption) -> String {
            guard let text = percentDecoded(rawValue, plusIsSpace: true) else { throw bad }
            return text
        }

        func integer(_ range: ClosedRange<Int>) throws(BadOption) -> Int {
            guard let value = Int(try text()), range.contains(value) else { throw bad }
            return value
        }

        func flag() throws(BadOption) -> Bool {
            switch try text() {
            case "", "1", "true": return true
            case "0", "false": return false
            default: throw bad
            }
        }

        /// Text that stays within one header line.
        func headerValue() throws(BadOption) -> String {
            let value = try text()
            guard value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { throw bad }
            return value
        }

        func header() throws(BadOption) -> Header {
            let line = try headerValue()
            guard let colon = line.firstIndex(of: ":") else { throw bad }
            let name = line[..<colon]
            let value = line[colon...].dropFirst().drop { $0 == " " }
            guard !name.isEmpty, name.utf8.allSatisfy(isTokenByte) else { throw bad }
            return Header(name: String(name), value: String(value))
        }
    }
}

/// A header field of an answer.
struct Header: Equatable {
    let name: String
    let value: String
}
