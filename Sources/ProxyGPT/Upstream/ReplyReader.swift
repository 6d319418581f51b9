// Reads a model's reply out of the upstream's answer: bytes in, text out, cut anywhere.
//
// A reply is paid for in any form, so the bytes decide and not the Content-Type: server-sent
// events, JSON lines and one JSON text are distinguished line by line, and other lines are skipped.
// Holds at most the reply and the text of the event that is being read. Does no I/O.

/// Reads the reply to a chat completion.
package struct ReplyReader: Sendable {
    /// The reason why an answer is no reply, or only part of one.
    package enum Problem: Error, Sendable, Equatable {
        /// The answer has the upstream's error.
        case reported(UpstreamError)
        /// The answer has no known form.
        case malformed
        /// The answer ended before the reply did.
        case incomplete
        /// The reply or an event is longer than the limit.
        case tooLong
        /// The reply has no text; the reasons are the model's.
        case empty(finishReason: String?, refusal: String?)
    }

    /// The most bytes of one event, of one line or of an answer that is one JSON text.
    package static let eventLimit = 16 * 1024 * 1024

    /// The position within a line.
    private enum Place {
        case start
        /// In the name of a field.
        case field
        /// Before or behind a value.
        case between
        case object
        /// The number of letters of DONE that have been read behind a bracket.
        case done(Int)
        case eventName
        case remainder
    }

    private var place = Place.start
    private var parser = ReplyEventParser()
    /// The field's name, or the event's.
    private var word: [UInt8] = []
    private var isData = false
    private var isErrorEvent: Bool
    /// The text of an error that is no JSON.
    private var errorText = ReplyText(limit: ReplyEvent.textLimit)
    private var endsWithReturn = false
    private var isAtVeryStart = true
    /// Whether nothing but white space has been read of the line on which an object goes on.
    private var isOnNewLine = false
    /// Bytes of the present event.
    private var size = 0

    private var pending: [UInt8] = []
    private var refusal = ReplyText(limit: ReplyEvent.textLimit)
    private var finishReason: String?
    private var hasToolCalls = false
    private var hasDelta = false
    private var hasReply = false
    private var isWhole = false

    /// The text so far.
    package private(set) var reply = ""
    package private(set) var usage: Usage?
    /// Whether the upstream has ended the reply. Later bytes are ignored.
    package private(set) var isDone = false

    package init() {
        self.init(isError: false)
    }

    private init(isError: Bool) {
        isErrorEvent = isError
    }

    /// Whether the reply is complete: the model's last delta has arrived.
    package var isComplete: Bool { isDone || isWhole }

    /// Takes the next bytes and returns their text. Text before a problem is in `reply`.
    package mutating func feed(_ bytes: [UInt8]) throws(Problem) -> String {
        var text = ""
        var index = 0
        while index < bytes.count, !isDone {
            let start = index
            let delta = try read(bytes, &index)
            if !delta.isEmpty { text += delta }
            size += index - start
            guard size <= Self.eventLimit else { throw .tooLong }
            if isIdle { size = 0 }
        }
        return text
    }

    /// Takes the end of the answer, or of the part that is read, and returns the remaining text.
    package mutating func finish() throws(Problem) -> String {
        var last = ReplyText(limit: Message.replyLimit - reply.utf8.count, pending: pending)
        last.finish()
        refusal.finish()
        pending = []
        var text = last.text
        // A model that refuses in the middle of a reply gives a reason.
        if !reply.isEmpty, !refusal.text.isEmpty { text += "\n\n" + refusal.text }
        reply += text
        if case .remainder = place, isErrorEvent, isData { try throwErrorText() }
        guard isComplete else {
            throw hasReply || parser.isOpen ? .incomplete : .malformed
        }
        if reply.isEmpty, !hasToolCalls {
            let refusal = refusal.text
            throw .empty(
                finishReason: finishReason, refusal: refusal.isEmpty ? nil : refusal)
        }
        return text
    }

    /// Whether no part of an event is held.
    private var isIdle: Bool {
        switch place {
        case .start, .between: !parser.isOpen
        default: false
        }
    }

    /// The error in the body of an answer with an error's status.
    package static func error(in body: [UInt8]) -> UpstreamError? {
        var reader = ReplyReader(isError: true)
        // Some servers put the error into a list.
        let start = body.firstIndex { !isSpace($0) && $0 != UInt8(ascii: "[") } ?? body.count
        do throws(Problem) {
            _ = try reader.feed(Array(body[start...]))
            return nil
        } catch {
            if case .reported(let error) = error { return error }
            return nil
        }
    }

    // MARK: - Lines

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x09 || isLineEnd(byte)
    }

    private static func isLineEnd(_ byte: UInt8) -> Bool {
        byte == 0x0A || byte == 0x0D
    }

    /// Takes the next byte, or all bytes up to the next change of place.
    private mutating func read(_ bytes: [UInt8], _ index: inout Int) throws(Problem) -> String {
        let byte = bytes[index]
        switch place {
        case .object: return try readObject(bytes, &index)
        case .remainder: try skip(bytes, &index)
        case .start: beginLine(byte, &index)
        case _ where Self.isLineEnd(byte):
            endLine(byte)
            index += 1
        case .field:
            index += 1
            readField(byte)
        case .eventName:
            index += 1
            if word.count < 8 && byte != 0x20 { word.append(byte) }
        case .between:
            switch byte {
            case 0x20, 0x09: index += 1
            case UInt8(ascii: "{"):
                index += 1
                begin()
            case UInt8(ascii: "["):
                index += 1
                place = .done(0)
            default: place = .remainder
            }
        case .done(let count): readDone(byte, count, &index)
        }
        return ""
    }

    private mutating func beginLine(_ byte: UInt8, _ index: inout Int) {
        // A line ends with CR, LF or both, which may come in two pieces.
        if endsWithReturn {
            endsWithReturn = false
            if byte == 0x0A {
                index += 1
                return
            }
        }
        if isAtVeryStart, [0xEF, 0xBB, 0xBF].contains(byte) {
            index += 1
            return
        }
        isAtVeryStart = false
        switch byte {
        case 0x0A, 0x0D:
            // The end of the event: an object that is not complete is no JSON.
            parser.abandon()
            isErrorEvent = false
            endLine(byte)
            index += 1
        case 0x20, 0x09: index += 1
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            parser.abandon()
            isData = false
            place = .between
        default:
            word.removeAll(keepingCapacity: true)
            place = .field
        }
    }

    private mutating func endLine(_ byte: UInt8) {
        if case .eventName = place { isErrorEvent = word.elementsEqual("error".utf8) }
        endsWithReturn = byte == 0x0D
        place = .start
    }

    private mutating func readField(_ byte: UInt8) {
        guard byte == UInt8(ascii: ":") else {
            if word.count < 8 { word.append(byte) }
            return
        }
        if word.elementsEqual("data".utf8) {
            isData = true
            place = parser.isOpen ? .object : .between
        } else {
            isData = false
            place = word.elementsEqual("event".utf8) ? .eventName : .remainder
            word.removeAll(keepingCapacity: true)
        }
    }

    private mutating func readDone(_ byte: UInt8, _ count: Int, _ index: inout Int) {
        let letters: StaticString = "DONE"
        if byte == 0x20, count == 0 || count == 4 {
            index += 1
        } else if count < 4, byte == letters.utf8Start[count] {
            index += 1
            place = .done(count + 1)
        } else if count == 4, byte == UInt8(ascii: "]") {
            index += 1
            isDone = true
        } else {
            place = .remainder
        }
    }

    private mutating func skip(_ bytes: [UInt8], _ index: inout Int) throws(Problem) {
        let end = bytes[index...].firstIndex(where: Self.isLineEnd) ?? bytes.count
        if isErrorEvent && isData { errorText.append(bytes[index..<end]) }
        index = end
        guard end < bytes.count else { return }
        if isErrorEvent && isData { try throwErrorText() }
        endLine(bytes[end])
        index += 1
    }

    private mutating func throwErrorText() throws(Problem) {
        errorText.finish()
        guard !errorText.text.isEmpty else { return }
        throw .reported(UpstreamError(message: errorText.text))
    }

    // MARK: - Objects

    private mutating func begin() {
        parser.begin(limit: Message.replyLimit - reply.utf8.count, pending: pending)
        isOnNewLine = false
        place = .object
    }

    private mutating func readObject(
        _ bytes: [UInt8], _ index: inout Int
    ) throws(Problem) -> String {
        let start = index
        let wasOnNewLine = isOnNewLine
        switch parser.feed(bytes, &index) {
        case .more:
            isOnNewLine = wasOnNewLine && bytes[start...].allSatisfy(Self.isSpace)
        case .whole:
            guard size + index - start <= Self.eventLimit else { throw .tooLong }
            place = .between
            defer { parser.abandon() }
            return try take(parser.event)
        case .lineEnd where !parser.isInString:
            if isData { endLine(bytes[index]) } else { isOnNewLine = true }
            index += 1
        case .lineEnd, .malformed:
            // An object that breaks off, and then a line of another kind, which may be an event.
            let isNewLine = wasOnNewLine && bytes[start..<index].allSatisfy(Self.isSpace)
            parser.abandon()
            size = 0
            place = isNewLine ? .start : .remainder
        }
        return ""
    }

    /// Takes the values of an object, and returns its text.
    private mutating func take(_ event: ReplyEvent) throws(Problem) -> String {
        size = 0
        usage = event.usage ?? usage
        hasReply = hasReply || event.isReply
        var text = ""
        if let choice = event.choice { text = try take(choice, event) }
        if let error = event.error(isError: isErrorEvent) { throw .reported(error) }
        // Ollama's last line.
        if event.isDone == true && hasReply { isDone = true }
        return text
    }

    private mutating func take(
        _ choice: ReplyEvent.Choice, _ event: ReplyEvent
    ) throws(Problem) -> String {
        hasToolCalls = hasToolCalls || choice.hasToolCalls
        if !choice.refusal.text.isEmpty { refusal.append(choice.refusal) }
        if !choice.finishReason.text.isEmpty {
            finishReason = choice.finishReason.text
            isWhole = true
        }
        // Some servers repeat the whole message beside each delta, or behind all of them.
        let message = hasDelta ? nil : choice.message
        if choice.delta == nil, message != nil, event.isDone == nil { isWhole = true }
        if choice.text != nil, !isData { isWhole = true }
        guard let delta = choice.delta ?? message ?? choice.text else { return "" }
        if choice.delta?.text.isEmpty == false { hasDelta = true }
        pending = delta.pending
        reply += delta.text
        guard !delta.isCut else { throw .tooLong }
        return delta.text
    }
}
