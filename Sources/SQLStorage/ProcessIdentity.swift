package import EventLoop
internal import Glibc

/// Names this process among all that share the database.
package struct ProcessIdentity: Sendable, Equatable {
    package let id: String
    package let host: String
    /// New for every start of the host's kernel.
    package let bootID: String
    /// Tells one state directory of a host from another, whatever path leads to it.
    package let directory: String

    package init(id: String, host: String, bootID: String, directory: String = "") {
        self.id = id
        self.host = host
        self.bootID = bootID
        self.directory = directory
    }

    /// Where the process is at home: those of one home meet in the files of its state directory. Two
    /// containers of one host may have one name and have two homes.
    package var home: String { directory.isEmpty ? bootID : bootID + " " + directory }

    /// The calling process under a new `id`, with its state directory. Throws when the kernel does not
    /// tell.
    package static func current(
        id: String, stateDirectory: String
    ) throws(SystemError) -> ProcessIdentity {
        var name = [UInt8](repeating: 0, count: 256)
        let isKnown = name.withUnsafeMutableBytes { bytes in
            guard let start = bytes.baseAddress else { return false }
            return gethostname(start, bytes.count - 1) == 0
        }
        guard isKnown else { throw SystemError("gethostname") }
        let host = String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
        return ProcessIdentity(
            id: id, host: host, bootID: try bootID(), directory: try number(of: stateDirectory))
    }

    private static func number(of directory: String) throws(SystemError) -> String {
        var status = stat()
        guard stat(directory, &status) == 0 else { throw SystemError("stat \(directory)") }
        return "\(status.st_dev):\(status.st_ino)"
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
