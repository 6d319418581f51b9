/// Finds the values of a few members of a JSON text that passes by in pieces, without holding it.
///
/// Members are wanted at the top level, and one level below in the member `response`, where the
/// Responses API keeps what the others have on top. The text is not checked: it is not ours.
package struct JSONFieldScanner: Sendable {
    private enum Container: Sendable {
        case object
        case array
    }

    /// Values longer than this are not kept, in bytes.
    private static let valueLimit = 4096
    private static let nameLimit = 32

    private let wanted: Set<String>
    private var containers: [Container] = []
    private var isInString = false
    private var isEscaped = false
    private var expectsName = false
    private var isReadingName = false
    private var isInsideResponse = false
    private var name: [UInt8] = []
    private var value: [UInt8] = []
    private var valueName: String?
    private var valueDepth = 0
    /// The text was no JSON or too deep to follow; the rest is passed over.
    private var hasGivenUp = false

    /// The raw JSON of each wanted member that was found; the last one where there are several.
    package private(set) var found: [String: [UInt8]] = [:]

    package init(wanted: Set<String>) {
        self.wanted = wanted
    }

    /// Begins a new text and forgets what was found.
    package mutating func reset() {
        found.removeAll(keepingCapacity: true)
        containers.removeAll(keepingCapacity: true)
        isInString = false
        isEscaped = false
        expectsName = false
        isReadingName = false
        isInsideResponse = false
        valueName = nil
        hasGivenUp = false
    }

    package mutating func feed(_ bytes: some Sequence<UInt8>) {
        if hasGivenUp { return }
        for byte in bytes {
            if isInString { feedString(byte) } else { feedStructure(byte) }
        }
    }

    private mutating func feedString(_ byte: UInt8) {
        if valueName != nil { keep(byte) }
        if isEscaped {
            isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
            isEscaped = true
        } else if byte == UInt8(ascii: "\"") {
            isInString = false
            isReadingName = false
            return
        }
        if isReadingName && name.count <= Self.nameLimit { name.append(byte) }
    }

    private mutating func feedStructure(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""):
            isInString = true
            if expectsName {
                expectsName = false
                isReadingName = true
                name.removeAll(keepingCapacity: true)
            }
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            guard containers.count < JSONValue.depthLimit else {
                hasGivenUp = true
                return
            }
            if byte == UInt8(ascii: "{"), containers.count == 1, valueName == nil,
                name.elementsEqual("response".utf8)
            {
                isInsideResponse = true
            }
            containers.append(byte == UInt8(ascii: "{") ? .object : .array)
            expectsName = byte == UInt8(ascii: "{")
        case UInt8(ascii: "}"), UInt8(ascii: "]"):
            endValue(ifAt: containers.count)
            _ = containers.popLast()
            if containers.count == 1 { isInsideResponse = false }
            expectsName = false
        case UInt8(ascii: ","):
            endValue(ifAt: containers.count)
            expectsName = containers.last == .object
        case UInt8(ascii: ":"):
            beginValue()
            return
        default: break
        }
        if valueName != nil { keep(byte) }
    }

    private mutating func beginValue() {
        guard valueName == nil else {
            keep(UInt8(ascii: ":"))
            return
        }
        let depth = containers.count
        guard depth == 1 || (depth == 2 && isInsideResponse) else { return }
        let text = String(decoding: name, as: UTF8.self)
        guard wanted.contains(text) else { return }
        valueName = text
        valueDepth = depth
        value.removeAll(keepingCapacity: true)
    }

    private mutating func endValue(ifAt depth: Int) {
        guard let name = valueName, valueDepth == depth else { return }
        if value.count <= Self.valueLimit { found[name] = value }
        valueName = nil
    }

    private mutating func keep(_ byte: UInt8) {
        if value.count <= Self.valueLimit { value.append(byte) }
    }
}
