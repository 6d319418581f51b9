package import EventLoop
internal import Glibc

/// Names this process among all that share the database.
package struct ProcessIdentity: Sendable, Equatable {
    package let id: String
    package let host: String
    /// New for every start of the host's kernel.
    package let bootID: String

    package init(id: String, host: String, bootID: String) {
        self.id = id
        self.host = host
        self.bootID = bootID
    }

    /// The calling process under a new `id`. Throws when the kernel does not tell.
    package static func current(id: String) throws(SystemError) -> ProcessIdentity {
        var name = [UInt8](repeating: 0, count: 256)
        let isKnown = name.withUnsafeMutableBytes { bytes in
            guard let start = bytes.baseAddress else { return false }
            return gethostname(start, bytes.count - 1) == 0
        }
        guard isKnown else { throw SystemError("gethostname") }
        let host = String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
        return ProcessIdentity(id: id, host: host, bootID: try bootID())
    }

    private static func bootID() throws(SystemError) -> String {
        let path = "/proc/sys/kernel/random/boot_id"
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SystemError("open \(path)") }
        defer { close(descriptor) }
        var text = [UInt8](repeating: 0, count: 64)
        let count = text.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
        guard count > 0 else { throw SystemError("read \(path)") }
        let line = text.prefix(count).prefix { $0 != UInt8(ascii: "\n") }
        return String(decoding: line, as: UTF8.self)
    }
}
