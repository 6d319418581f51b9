/// Finds the values of a few members of a JSON text that passes by in pieces, without holding it.
///
/// Members are wanted at the top level, and one level below in the member `response`, where the
/// Responses API keeps what the others have on top. The text is not checked: it is not ours.
package struct JSONFieldScanner: Sendable {
    /// Values longer than this are not kept, in bytes.
    private static let valueLimit = 4096
    private static let nameLimit = 32

    private let wanted: [String]
    /// How many arrays and objects are open, and a bit for each: 1 for an object.
    private var depth = 0
    private var objects: UInt64 = 0
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

    package init(wanted: [String]) {
        self.wanted = wanted
    }

    /// Begins a new text and forgets what was found.
    package mutating func reset() {
        self = JSONFieldScanner(wanted: wanted)
    }

    package mutating func feed(_ bytes: [UInt8]) {
        feed(bytes[...])
    }

    package mutating func feed(_ bytes: ArraySlice<UInt8>) {
        var index = bytes.startIndex
        while index < bytes.endIndex, !hasGivenUp {
            if isInString {
                index = feedString(bytes, from: index)
            } else {
                feedStructure(bytes[index])
                index += 1
            }
        }
    }

    /// Passes over the inside of a string as far as it goes, and returns where it stopped.
    private mutating func feedString(_ bytes: ArraySlice<UInt8>, from start: Int) -> Int {
        var index = start
        while index < bytes.endIndex {
            let byte = bytes[index]
            index += 1
            if isEscaped {
                isEscaped = false
            } else if byte == UInt8(ascii: "\\") {
                isEscaped = true
            } else if byte == UInt8(ascii: "\"") {
                isInString = false
                break
            }
        }
        if valueName != nil { keep(bytes[start..<index]) }
        if isReadingName {
            if name.count <= Self.nameLimit {
                name.append(contentsOf: bytes[start..<(isInString ? index : index - 1)].prefix(64))
            }
            isReadingName = isInString
        }
        return index
    }

    private mutating func feedStructure(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""):
            isInString = true
            // Only names at depths where something may be wanted are of interest.
            if expectsName && depth <= 2 {
                isReadingName = true
                name.removeAll(keepingCapacity: true)
            }
            expectsName = false
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            guard depth < JSONValue.depthLimit else {
                hasGivenUp = true
                return
            }
            let isObject = byte == UInt8(ascii: "{")
            if isObject, depth == 1, valueName == nil, name.elementsEqual("response".utf8) {
                isInsideResponse = true
            }
            depth += 1
            objects = objects << 1 | (isObject ? 1 : 0)
            expectsName = isObject
        case UInt8(ascii: "}"), UInt8(ascii: "]"):
            endValue()
            depth = max(0, depth - 1)
            objects >>= 1
            if depth == 1 { isInsideResponse = false }
            expectsName = false
        case UInt8(ascii: ","):
            endValue()
            expectsName = depth > 0 && objects & 1 == 1
        case UInt8(ascii: ":"):
            if valueName == nil {
                beginValue()
                return
            }
        default: break
        }
        if valueName != nil { keep(CollectionOfOne(byte)) }
    }

    private mutating func beginValue() {
        guard depth == 1 || (depth == 2 && isInsideResponse) else { return }
        for candidate in wanted where name.elementsEqual(candidate.utf8) {
            valueName = candidate
            valueDepth = depth
            value.removeAll(keepingCapacity: true)
        }
    }

    private mutating func endValue() {
        guard let name = valueName, valueDepth == depth else { return }
        if value.count <= Self.valueLimit { found[name] = value }
        valueName = nil
    }

    private mutating func keep(_ bytes: some Collection<UInt8>) {
        if value.count <= Self.valueLimit { value.append(contentsOf: bytes) }
    }
}
