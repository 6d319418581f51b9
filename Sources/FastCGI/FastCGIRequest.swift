// One FastCGI request, from its complete head to its end.
//
// Owns an FCGX_Request, which lives in the memory that this object allocates: libfcgi's streams
// point into it. libfcgi frees the parameters when the request is finished, so all that leaves this
// file is copied first. The descriptor belongs to the connection. Confined to the loop, libfcgi's
// calls are made when they do not block: reads when the descriptor is readable, writes of at most
// 64 KiB when it is writable. Knows nothing of routes.

internal import CFastCGI
package import EventLoop
internal import Glibc

/// The web server closed the connection, or sent bytes that are no request: the client is gone.
package struct PeerGone: Error {
    package init() {}
}

/// A parameter of a request: one of the web server's own, or a header of the client.
package struct FastCGIParameter: Sendable {
    package let name: String
    /// The value as text, with U+FFFD for invalid UTF-8.
    package let value: String
    /// The whole value, where it is no UTF-8.
    package let rawValue: [UInt8]?

    fileprivate init(_ name: Slice<UnsafeRawBufferPointer>, _ value: Slice<UnsafeRawBufferPointer>)
    {
        self.name = String(decoding: name, as: UTF8.self)
        if let text = String(validating: value, as: UTF8.self) {
            self.value = text
            rawValue = nil
        } else {
            self.value = String(decoding: value, as: UTF8.self)
            rawValue = Array(value)
        }
    }
}

/// A request that the web server handed over.
@EventLoop package final class FastCGIRequest {
    /// The parameters in the order in which they came; a name may come twice. Of more than
    /// `parameterLimit` the last ones are missing.
    package private(set) var parameters: [FastCGIParameter]

    /// Whether the request came when the worker was full, to be answered with a refusal.
    package nonisolated let isRefused: Bool

    /// More than the web server's own and all headers that a request may have.
    private static let parameterLimit = 1100
    private static let chunk = 64 * 1024

    private let request: UnsafeMutablePointer<FCGX_Request>
    private let connection: FastCGIConnection
    private let keepsConnection: Bool
    private var isOpen = true
    private var mustPoll = false
    private var room = FastCGIRequest.chunk
    private var bodyHasEnded = false
    private var owesTurn = false

    /// Parses the head, which must be complete on the descriptor. Nil when it is malformed after
    /// all; libfcgi has closed the descriptor then.
    init?(connection: FastCGIConnection, isRefused: Bool) {
        let request = UnsafeMutablePointer<FCGX_Request>.allocate(capacity: 1)
        FCGX_InitRequest(request, -1, 0)
        request.pointee.ipcFd = connection.descriptor
        request.pointee.keepConnection = 1
        guard FCGX_Accept_r(request) == 0 else {
            request.deallocate()
            return nil
        }
        self.request = request
        self.connection = connection
        self.isRefused = isRefused
        keepsConnection = request.pointee.keepConnection != 0
        // Left to libfcgi, a close waits for the peer: we close ourselves.
        request.pointee.keepConnection = 1
        parameters = Self.copyParameters(request.pointee.envp)
    }

    isolated deinit {
        request.deallocate()
    }

    private static func copyParameters(
        _ environment: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
    ) -> [FastCGIParameter] {
        var parameters: [FastCGIParameter] = []
        parameters.reserveCapacity(32)
        guard var entry = environment else { return parameters }
        while parameters.count < parameterLimit, let text = entry.pointee {
            let length = strlen(text)
            let bytes = UnsafeRawBufferPointer(start: text, count: length)
            if let equals = bytes.firstIndex(of: UInt8(ascii: "=")) {
                parameters.append(
                    FastCGIParameter(bytes[..<equals], bytes[(equals + 1)...]))
            }
            entry += 1
        }
        return parameters
    }

    /// Returns the parameters and lets go of them: a request that lasts long is lighter without.
    package func takeParameters() -> [FastCGIParameter] {
        defer { parameters = [] }
        return parameters
    }

    // MARK: - Body

    /// Returns the next bytes of the body, at most 64 KiB, or nil at its end. After so many bytes
    /// other requests have their turn: the caller's work on them takes time too.
    package func readBody() async throws(PeerGone) -> [UInt8]? {
        if owesTurn { await Task.yield() }
        owesTurn = false
        var bytes: [UInt8] = []
        while !bodyHasEnded {
            guard isOpen, !connection.isPeerGone || connection.isReadable else { throw PeerGone() }
            guard let input = request.pointee.in else { throw PeerGone() }
            let available = input.pointee.stop - input.pointee.rdNext
            if available > 0 {
                let count = min(available, Self.chunk - bytes.count)
                bytes.append(
                    contentsOf: UnsafeBufferPointer(start: input.pointee.rdNext, count: count))
                input.pointee.rdNext += count
                if bytes.count == Self.chunk {
                    owesTurn = true
                    return bytes
                }
            } else {
                switch nextRecord(of: input) {
                case .body: guard fill(input) else { throw PeerGone() }
                case .foreign: throw PeerGone()
                case .incomplete where !bytes.isEmpty: return bytes
                case .incomplete where connection.isPeerGone: throw PeerGone()
                case .incomplete: await connection.waitForMore()
                }
            }
        }
        return bytes.isEmpty ? nil : bytes
    }

    /// Reads and forgets the rest of the body: the web server must be able to finish sending.
    package func discardBody() async throws(PeerGone) {
        while try await readBody() != nil {}
    }

    /// The state behind the bytes that libfcgi has delivered.
    private enum NextRecord {
        /// The body goes on, or ends.
        case body
        /// The available bytes do not show it.
        case incomplete
        /// The peer has closed, or sends bytes that no web server sends.
        case foreign
    }

    // libfcgi reads 8 KiB at a time: the following bytes are in its buffer, on the descriptor, or
    // partly here and partly there. It gets no record but the body's own: to management records it
    // writes answers past the end of a buffer.
    private func nextRecord(of stream: UnsafeMutablePointer<FCGX_Stream>) -> NextRecord {
        let input = proxy_gpt_fcgi_input(stream)
        if input.content > 0 {
            return input.buffered > 0 || connection.isReadable ? .body : .incomplete
        }
        // The next header, and the first byte behind it.
        let length = input.padding + BodyRecord.headerLength + 1
        return withUnsafeTemporaryAllocation(byteCount: length, alignment: 1) { bytes in
            var count = min(length, input.buffered)
            if count > 0, let next = input.next {
                bytes.copyMemory(from: UnsafeRawBufferPointer(start: next, count: count))
            }
            if count < length {
                let rest = UnsafeMutableRawBufferPointer(rebasing: bytes[count...])
                let more = Sockets.peek(connection.descriptor, into: rest)
                if more == 0 && count < length - 1 { return .foreign }
                count += max(0, more)
            }
            guard count >= length - 1 else { return .incomplete }
            let record = bytes[input.padding..<count]
            guard let size = BodyRecord.size(record, requestID: Int(request.pointee.requestId))
            else {
                return .foreign
            }
            return size == 0 || count == length ? .body : .incomplete
        }
    }

    /// Reads the next bytes; false when they are no body.
    private func fill(_ input: UnsafeMutablePointer<FCGX_Stream>) -> Bool {
        let byte = FCGX_GetChar(input)
        if byte < 0 {
            // Asked again, a broken body is broken still.
            guard FCGX_GetError(input) == 0 else { return false }
            bodyHasEnded = true
            // Some 8 KiB that a long call would hold to its end.
            FCGX_FreeStream(&request.pointee.in)
        } else {
            FCGX_UnGetChar(byte, input)
        }
        return true
    }

    // MARK: - Answer

    /// Adds bytes to the answer. Suspends while the web server does not take them.
    /// - Parameter flush: whether they leave at once, with all that was added before.
    package func write(_ bytes: [UInt8], flush: Bool) async throws(PeerGone) {
        var start = 0
        while start < bytes.count {
            try await makeRoom()
            let count = min(room, bytes.count - start)
            let result = bytes.withUnsafeBytes { bytes in
                FCGX_PutStr(
                    bytes.baseAddress?.assumingMemoryBound(to: CChar.self).advanced(by: start),
                    Int32(count), request.pointee.out)
            }
            guard result >= 0 else { throw PeerGone() }
            start += count
            room -= count
        }
        if flush { try await self.flush() }
    }

    /// Sends the bytes that were added so far.
    package func flush() async throws(PeerGone) {
        try await makeRoom()
        guard FCGX_FFlush(request.pointee.out) == 0 else { throw PeerGone() }
        mustPoll = true
    }

    private func makeRoom() async throws(PeerGone) {
        guard isOpen, !connection.isPeerGone else { throw PeerGone() }
        if room > 0 && !mustPoll { return }
        while !connection.isWritable {
            await connection.waitUntilWritable()
            guard isOpen, !connection.isPeerGone else { throw PeerGone() }
        }
        mustPoll = false
        room = Self.chunk
    }

    /// Sends the rest and END_REQUEST, and gives the connection back for the next request.
    package func finish() async {
        do throws(PeerGone) {
            try await discardBody()
            try await makeRoom()
        } catch {
            abandon()
            return
        }
        guard isOpen else { return }
        isOpen = false
        // The work of FCGX_Finish_r, except for reading the input to its end, which is done, and
        // for closing the connection, which is ours.
        let isSent = FCGX_FClose(request.pointee.err) == 0 && FCGX_FClose(request.pointee.out) == 0
        FCGX_Free(request, 0)
        connection.requestEnded(keep: keepsConnection && isSent)
    }

    /// Ends the request so that the client sees that the answer is not whole: the web server
    /// rejects a record of an unknown version and aborts, while it takes a plain close for an end.
    package func abort() {
        guard isOpen else { return }
        if !connection.isPeerGone {
            // Bytes that were added before leave first; a full socket loses them, as any abort may.
            if connection.isWritable { FCGX_FFlush(request.pointee.out) }
            Sockets.send([UInt8](repeating: 0xFF, count: 8), to: connection.descriptor)
        }
        abandon()
    }

    /// Whether it was this side that ended the request, at the limit of a drain.
    package var isStopped: Bool { connection.isStopped }

    /// Frees everything and closes the connection without another byte. No effect after the end.
    func abandon() {
        guard isOpen else { return }
        isOpen = false
        FCGX_Free(request, 0)
        connection.requestEnded(keep: false)
    }
}
