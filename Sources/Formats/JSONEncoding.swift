extension JSONValue {
    /// The value as compact JSON text in UTF-8.
    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(256)
        write(to: &bytes)
        return bytes
    }

    private func write(to bytes: inout [UInt8]) {
        switch self {
        case .null: bytes.append(contentsOf: "null".utf8)
        case .boolean(let value): bytes.append(contentsOf: (value ? "true" : "false").utf8)
        case .number(let text): bytes.append(contentsOf: text.utf8)
        case .string(let text): Self.write(text, to: &bytes)
        case .array(let elements):
            bytes.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                element.write(to: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .object(let members):
            bytes.append(UInt8(ascii: "{"))
            for (index, member) in members.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                Self.write(member.name, to: &bytes)
                bytes.append(UInt8(ascii: ":"))
                member.value.write(to: &bytes)
            }
            bytes.append(UInt8(ascii: "}"))
        }
    }

    private static func write(_ text: String, to bytes: inout [UInt8]) {
        var text = text
        bytes.append(UInt8(ascii: "\""))
        text.withUTF8 { writeContent($0, to: &bytes) }
        bytes.append(UInt8(ascii: "\""))
    }

    /// Writes part of a string's content; bytes without an escape are copied in runs.
    private static func writeContent(
        _ content: UnsafeBufferPointer<UInt8>, to bytes: inout [UInt8]
    ) {
        var start = 0
        for index in 0..<content.count {
            let byte = content[index]
            guard byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") else {
                continue
            }
            bytes.append(contentsOf: UnsafeBufferPointer(rebasing: content[start..<index]))
            writeEscaped(byte, to: &bytes)
            start = index + 1
        }
        bytes.append(contentsOf: UnsafeBufferPointer(rebasing: content[start...]))
    }

    private static func writeEscaped(_ byte: UInt8, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\\"))
        switch byte {
        case 0x0A: bytes.append(UInt8(ascii: "n"))
        case 0x0D: bytes.append(UInt8(ascii: "r"))
        case 0x09: bytes.append(UInt8(ascii: "t"))
        case 0..<0x20:
            bytes.append(contentsOf: "u00".utf8)
            bytes.append(hexadecimalDigit(byte >> 4))
            bytes.append(hexadecimalDigit(byte & 15))
        default: bytes.append(byte)
        }
    }
}

// MARK: - In turns

extension JSONValue {
    /// Writes large values piece by piece with pauses, so that writing does not block an event loop
    /// for long.
    package struct PacedWriter {
        /// The bytes between two pauses.
        package static let pace = 64 * 1024

        package private(set) var bytes: [UInt8] = []
        private var pausedAt = 0
        private let pause: () async -> Void

        /// - Parameters:
        ///   - capacity: an estimate of the bytes to write.
        ///   - pause: lets other tasks run.
        package init(capacity: Int, pause: @escaping () async -> Void) {
            bytes.reserveCapacity(capacity)
            self.pause = pause
        }

        /// Writes JSON text as it is.
        package mutating func write(raw text: StaticString) {
            bytes.append(
                contentsOf: UnsafeBufferPointer(
                    start: text.utf8Start, count: text.utf8CodeUnitCount))
        }

        /// Writes the name of a member with its colon.
        package mutating func write(name: String) {
            JSONValue.write(name, to: &bytes)
            write(raw: ":")
        }

        package mutating func write(_ value: JSONValue) async {
            switch value {
            case .null, .boolean, .number: value.write(to: &bytes)
            case .string(let text): await write(text)
            case .array(let elements):
                write(raw: "[")
                for (index, element) in elements.enumerated() {
                    if index > 0 { write(raw: ",") }
                    await write(element)
                }
                write(raw: "]")
            case .object(let members):
                write(raw: "{")
                for (index, member) in members.enumerated() {
                    if index > 0 { write(raw: ",") }
                    write(name: member.name)
                    if case .string(let text) = member.value, text.utf8.count < 1024 {
                        JSONValue.write(text, to: &bytes)
                    } else {
                        await write(member.value)
                    }
                }
                write(raw: "}")
                await pauseWhereDue()
            }
        }

        private mutating func write(_ text: String) async {
            var text = text
            let count = text.withUTF8(\.count)
            write(raw: "\"")
            for start in stride(from: 0, to: count, by: Self.pace) {
                text.withUTF8 { content in
                    let piece = content[start..<min(count, start + Self.pace)]
                    JSONValue.writeContent(UnsafeBufferPointer(rebasing: piece), to: &bytes)
                }
                await pauseWhereDue()
            }
            write(raw: "\"")
        }

        private mutating func pauseWhereDue() async {
            guard bytes.count - pausedAt >= Self.pace else { return }
            pausedAt = bytes.count
            await pause()
        }
    }
}
