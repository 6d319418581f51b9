// Takes secrets out of the beginning of a body before it is stored.
//
// A body may be JSON, events with JSON, JSON within the strings of JSON, a form, several parts, or
// none of these, and it may be cut anywhere. So it is not parsed as a whole: bytes that look like a
// member, field or token are enough, the level of a quote follows from the backslashes before it,
// and a secret without an end is blanked to the end of the body. Each pass takes linear time.

internal import Formats

/// The beginning of a body with its secrets blanked.
package struct BodyRedaction {
    /// Members and fields with a secret text, in small letters, `-` as `_`.
    private static let secretNames: [[UInt8]] = [
        "authorization", "headers", "api_key", "apikey", "x_api_key", "client_secret",
        "clientsecret", "password", "token", "access_token", "refresh_token",
    ].map { Array($0.utf8) }
    private static let clientSecret = Array("client_secret".utf8)
    private static let value = Array("value".utf8)
    /// Longer names, even with escapes, are none of these.
    private static let nameLimit = 256

    private let bytes: [UInt8]
    private var isHidden: [Bool]
    /// A member or field named `value` is a secret, too.
    private var hidesValues: Bool
    /// The ranges of the texts of such members and fields.
    private var values: [Range<Int>] = []

    /// Returns the bytes with secrets replaced by asterisks.
    /// - Parameter makesSecrets: the path's answers have secrets in members named `value`.
    package static func redacted(_ bytes: [UInt8], makesSecrets: Bool = false) -> [UInt8] {
        var redaction = BodyRedaction(bytes, makesSecrets)
        redaction.hideMembers()
        redaction.hideFields()
        redaction.hideParts()
        redaction.hideShapes()
        if redaction.hidesValues {
            for range in redaction.values { redaction.hide(range) }
        }
        return redaction.result
    }

    private init(_ bytes: [UInt8], _ makesSecrets: Bool) {
        self.bytes = bytes
        isHidden = [Bool](repeating: false, count: bytes.count)
        hidesValues = makesSecrets
    }

    private mutating func hide(_ range: Range<Int>) {
        for index in range { isHidden[index] = true }
    }

    /// The body without the secrets, whose lengths are not shown either.
    private var result: [UInt8] {
        guard isHidden.contains(true) else { return bytes }
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count)
        var run = 0
        for (byte, isHidden) in zip(bytes, isHidden) {
            run = isHidden ? run + 1 : 0
            if run == 0 { result.append(byte) } else if run <= 3 { result.append(0x2A) }
        }
        return result
    }

    /// The treatment of the text of a member or field.
    private enum Verdict {
        case secret, value, plain
    }

    private mutating func verdict(onName name: [UInt8]) -> Verdict {
        let name = name.map { $0 == UInt8(ascii: "-") ? UInt8(ascii: "_") : lowerCase($0) }
        if name == Self.clientSecret { hidesValues = true }
        if Self.secretNames.contains(name) { return .secret }
        return name == Self.value ? .value : .plain
    }

    // MARK: - Members of JSON

    private mutating func hideMembers() {
        var open: Int?
        var place = 0
        while let quote = bytes[place...].firstIndex(of: UInt8(ascii: "\"")) {
            place = quote + 1
            let colon = skippingSpace(place)
            if let open, colon < bytes.count, bytes[colon] == UInt8(ascii: ":"),
                quote - open <= Self.nameLimit
            {
                let slashes = slashes(before: quote, notBefore: open + 1)
                let name = decodedName(open + 1..<quote - slashes)
                let start = skippingSpace(colon + 1)
                switch verdict(onName: name) {
                case .secret: place = max(place, hideValue(at: start, slashes))
                case .value: if let text = text(at: start, slashes) { values.append(text) }
                case .plain: break
                }
            }
            // Behind a finished value: its closing quote.
            open = max(quote, place - 1)
        }
    }

    private func slashes(before index: Int, notBefore first: Int) -> Int {
        var start = index
        while start > first, bytes[start - 1] == UInt8(ascii: "\\") { start -= 1 }
        return index - start
    }

    /// The place behind white space, escaped or not.
    private func skippingSpace(_ start: Int) -> Int {
        var place = start
        while place < bytes.count {
            switch bytes[place] {
            case 0x20, 0x09, 0x0A, 0x0D: place += 1
            case UInt8(ascii: "\\"):
                let letter = bytes[place...].firstIndex { $0 != UInt8(ascii: "\\") }
                guard let letter, "nrt".utf8.contains(bytes[letter]) else { return place }
                place = letter + 1
            default: return place
            }
        }
        return place
    }

    private func decodedName(_ range: Range<Int>) -> [UInt8] {
        var name: [UInt8] = []
        var place = range.lowerBound
        while place < range.upperBound {
            let unit = unit(at: place)
            name.append(unit.byte)
            place = unit.next
        }
        return name
    }

    /// The closing quote of a string that begins at a level of quotes; nil where that is beyond the cut. At
    /// depth n a quote has 2ⁿ - 1 backslashes before it, and deeper ones more.
    private func quote(closingTextAt start: Int, _ slashes: Int) -> Int? {
        var level = 1
        while level * 2 <= slashes + 1 { level *= 2 }
        var place = start
        while let quote = bytes[place...].firstIndex(of: UInt8(ascii: "\"")) {
            if self.slashes(before: quote, notBefore: start) % (level * 2) < level { return quote }
            place = quote + 1
        }
        return nil
    }

    /// The range of the text that a string holds, if a string begins here.
    private func text(at place: Int, _ slashes: Int) -> Range<Int>? {
        let quote = bytes[place...].firstIndex { $0 != UInt8(ascii: "\\") }
        guard let quote, bytes[quote] == UInt8(ascii: "\""), quote - place >= slashes else {
            return nil
        }
        return text(from: quote + 1, to: self.quote(closingTextAt: quote + 1, slashes), slashes)
    }

    /// The closing quote's own backslashes stay.
    private func text(from start: Int, to quote: Int?, _ slashes: Int) -> Range<Int> {
        guard let quote else { return start..<bytes.count }
        return
            start..<max(start, quote - min(slashes, self.slashes(before: quote, notBefore: start)))
    }

    /// Hides a string, or all strings within a list or object but for names; returns where it ends.
    private mutating func hideValue(at start: Int, _ slashes: Int) -> Int {
        if let text = text(at: start, slashes) {
            hide(text)
            // Behind the closing quote.
            return min(bytes.count, text.upperBound + slashes + 1)
        }
        var depth = 0
        var place = start
        while place < bytes.count {
            switch bytes[place] {
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
            case UInt8(ascii: "\""):
                // The string around it ends here.
                if self.slashes(before: place, notBefore: start) < slashes { return place }
                let end = quote(closingTextAt: place + 1, slashes)
                let next = end.map { skippingSpace($0 + 1) } ?? bytes.count
                if next >= bytes.count || bytes[next] != UInt8(ascii: ":") {
                    hide(text(from: place + 1, to: end, slashes))
                }
                place = end ?? bytes.count - 1
            default: break
            }
            if depth <= 0 { return place }
            place += 1
        }
        return place
    }

    // MARK: - Fields of forms

    private mutating func hideFields() {
        guard let sign = bytes.prefix(Self.nameLimit).firstIndex(of: UInt8(ascii: "=")),
            bytes[..<sign].allSatisfy({ Self.isOfFieldName($0) || $0 == UInt8(ascii: "&") })
        else { return }
        for field in bytes.indices.split(whereSeparator: { bytes[$0] == UInt8(ascii: "&") }) {
            guard let sign = field.prefix(Self.nameLimit).first(where: { bytes[$0] == 0x3D }) else {
                continue
            }
            hideField(named: decodedName(field.lowerBound..<sign), sign + 1..<field.upperBound)
        }
    }

    private static func isOfFieldName(_ byte: UInt8) -> Bool {
        isLetterOrDigit(byte) || "-_.[]%+*~".utf8.contains(byte)
    }

    /// - Parameter name: as `password`, `session[client_secret]` or `headers.Authorization`.
    private mutating func hideField(named name: [UInt8], _ range: Range<Int>) {
        let words = name.split { "[].".utf8.contains($0) }.map { verdict(onName: Array($0)) }
        if words.contains(.secret) {
            hide(range)
        } else if words.last == .value {
            values.append(range)
        }
    }

    // MARK: - Parts

    private static let disposition = Array("content-disposition:".utf8)

    private mutating func hideParts() {
        let first = bytes.prefix { $0 != 0x0D && $0 != 0x0A }
        let boundary = first.starts(with: "--".utf8) ? first : Array("--".utf8)[...]
        var name: [UInt8]?
        var place = 0
        while place < bytes.count {
            let end = bytes[place...].firstIndex(of: 0x0A) ?? bytes.count
            let line = bytes[place..<end]
            place = end + 1
            if line.prefix(Self.disposition.count).map(lowerCase) == Self.disposition {
                name = partName(line)
            } else if let found = name, place <= bytes.count, line.allSatisfy({ $0 == 0x0D }) {
                let last = endOfPart(from: place, boundary)
                hideField(named: found, place..<last)
                name = nil
                place = last
            }
        }
    }

    /// The `name` of a part's head line.
    private func partName(_ line: ArraySlice<UInt8>) -> [UInt8]? {
        let label = Array("name=".utf8)
        var isQuoted = false
        for place in line.indices.dropFirst(Self.disposition.count) {
            if bytes[place] == UInt8(ascii: "\""), bytes[place - 1] != UInt8(ascii: "\\") {
                isQuoted.toggle()
            }
            guard !isQuoted, bytes[place] == UInt8(ascii: ";") else { continue }
            let parameter = line[(place + 1)...].drop { $0 == 0x20 || $0 == 0x09 }
            guard parameter.prefix(label.count).map(lowerCase) == label else { continue }
            let name = parameter.dropFirst(label.count)
            guard name.first == UInt8(ascii: "\"") else {
                return Array(name.prefix(while: Self.isOfFieldName))
            }
            return Array(name.dropFirst().prefix { $0 != UInt8(ascii: "\"") })
        }
        return nil
    }

    private func endOfPart(from start: Int, _ boundary: ArraySlice<UInt8>) -> Int {
        var line = start
        while line < bytes.count {
            if bytes[line...].starts(with: boundary) {
                return max(start, line >= 2 && bytes[line - 2] == 0x0D ? line - 2 : line - 1)
            }
            line = (bytes[line...].firstIndex(of: 0x0A) ?? bytes.count) + 1
        }
        return bytes.count
    }
}

// MARK: - Tokens

extension BodyRedaction {
    /// The prefixes of tokens, and the bytes that may follow. The prefix is kept, since it tells
    /// the kind of token.
    private static let shapes: [[UInt8]] = ["sk-", "ek_", "pgpt"].map { Array($0.utf8) }
    private static let bearer = Array("bearer".utf8)

    private mutating func hideShapes() {
        var place = 0
        var isInWord = false
        while place < bytes.count {
            let unit = unit(at: place)
            if !isInWord, let token = token(at: place, unit.byte) {
                hide(token)
                place = token.upperBound
                isInWord = true
            } else {
                isInWord = isLetterOrDigit(unit.byte)
                place = unit.next
            }
        }
    }

    /// The range of the secret of a token that begins here.
    private func token(at start: Int, _ first: UInt8) -> Range<Int>? {
        switch first {
        case UInt8(ascii: "s"), UInt8(ascii: "e"), UInt8(ascii: "p"):
            for shape in Self.shapes where shape[0] == first {
                guard let place = place(behind: shape, from: start) else { continue }
                let end = end(from: place) { isLetterOrDigit($0) || "-_".utf8.contains($0) }
                if end > place { return place..<end }
            }
        case UInt8(ascii: "B"), UInt8(ascii: "b"):
            guard var place = place(behind: Self.bearer, from: start) else { return nil }
            let space = end(from: place) { " \t+".utf8.contains($0) }
            guard space > place else { return nil }
            place = space
            let end = end(from: place) { isLetterOrDigit($0) || "-._~+/=".utf8.contains($0) }
            // In small letters it may be a word of a sentence.
            let least = first == UInt8(ascii: "B") ? 1 : 8
            if end - place >= least || end > place && end == bytes.count { return place..<end }
        default: break
        }
        return nil
    }

    private func place(behind word: [UInt8], from start: Int) -> Int? {
        var place = start
        for letter in word {
            guard place < bytes.count else { return nil }
            let unit = unit(at: place)
            guard lowerCase(unit.byte) == letter else { return nil }
            place = unit.next
        }
        return place
    }

    private func end(from start: Int, _ isPart: (UInt8) -> Bool) -> Int {
        var place = start
        while place < bytes.count {
            let unit = unit(at: place)
            guard isPart(unit.byte) else { break }
            place = unit.next
        }
        return place
    }

    /// A byte of ASCII without the escapes of JSON or a form, and the index of the next one; 0 for
    /// any other character.
    private func unit(at place: Int) -> (byte: UInt8, next: Int) {
        let byte = bytes[place]
        if byte == UInt8(ascii: "%"), place + 2 < bytes.count,
            let value = hexadecimal(bytes[place + 1...place + 2]), value < 0x80
        {
            return (UInt8(value), place + 3)
        }
        guard byte == UInt8(ascii: "\\") else { return (byte, place + 1) }
        // Each level of strings doubles the backslashes.
        guard let letter = bytes[place...].firstIndex(where: { $0 != UInt8(ascii: "\\") }) else {
            return (0, bytes.count)
        }
        if bytes[letter] == UInt8(ascii: "u"), letter + 4 < bytes.count,
            let value = hexadecimal(bytes[letter + 1...letter + 4])
        {
            return (value < 0x80 ? UInt8(value) : 0, letter + 5)
        }
        return (0, "nrt".utf8.contains(bytes[letter]) ? letter + 1 : letter)
    }

    private func hexadecimal(_ digits: ArraySlice<UInt8>) -> Int? {
        var value = 0
        for digit in digits {
            guard let digit = hexadecimalValue(digit) else { return nil }
            value = value << 4 | Int(digit)
        }
        return value
    }
}

private func isLetterOrDigit(_ byte: UInt8) -> Bool {
    (0x61...0x7A).contains(lowerCase(byte)) || (0x30...0x39).contains(byte)
}
