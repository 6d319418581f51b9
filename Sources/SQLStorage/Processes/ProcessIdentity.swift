package import EventLoop
internal import Formats
internal import Glibc
internal import ProxyGPT

/// Names this process among all that share the database.
package struct ProcessIdentity: Sendable, Equatable {
    package let id: String
    /// The host's name, for logs alone: a renamed host is still the same host.
    package let host: String
    /// Distinguishes installations of an operating system, also where two started with one boot id;
    /// nil in a container without one.
    package let machine: String?
    /// New for every start of the host's kernel.
    package let bootID: String
    /// Distinguishes the state directories of a host, whatever path leads to them.
    package let directory: String

    package init(
        id: String, host: String, machine: String? = nil, bootID: String, directory: String = ""
    ) {
        self.id = id
        self.host = host
        self.machine = machine
        self.bootID = bootID
        self.directory = directory
    }

    /// Where the process is at home: those of one home meet in the files of its state directory. Two
    /// containers of one host may have one name and have two homes.
    package var home: String { directory.isEmpty ? bootID : bootID + " " + directory }

    /// The calling process under a new `id`, with its state directory. Throws when the kernel does
    /// not report them.
    /// - Parameter digest: a one-way function. The machine's id itself must not be published, see
    ///   machine-id(5).
    package static func current(
        id: String, stateDirectory: String, digest: ([UInt8]) -> [UInt8]
    ) throws(SystemError) -> ProcessIdentity {
        var name = [UInt8](repeating: 0, count: 256)
        let isKnown = name.withUnsafeMutableBytes { bytes in
            guard let start = bytes.baseAddress else { return false }
            return gethostname(start, bytes.count - 1) == 0
        }
        guard isKnown else { throw SystemError("gethostname") }
        let host = String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
        let machine = (try? firstLine(of: "/etc/machine-id")).flatMap { Self.machine($0, digest) }
        return ProcessIdentity(
            id: id, host: host, machine: machine,
            bootID: String(
                decoding: try firstLine(of: "/proc/sys/kernel/random/boot_id"), as: UTF8.self),
            directory: try number(of: stateDirectory))
    }

    /// The published form of a machine's id; nil for a text that is no id, as in an image of a
    /// system that has not started yet.
    static func machine(_ id: [UInt8], _ digest: ([UInt8]) -> [UInt8]) -> String? {
        let isID = id.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
        guard id.count == 32, isID else { return nil }
        return digest(Array("proxy-gpt machine ".utf8) + id).prefix(16).hexadecimal
    }

    private static func number(of directory: String) throws(SystemError) -> String {
        var status = stat()
        guard stat(directory, &status) == 0 else { throw SystemError("stat \(directory)") }
        return "\(status.st_dev):\(status.st_ino)"
    }

    private static func firstLine(of path: String) throws(SystemError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SystemError("open \(path)") }
        defer { close(descriptor) }
        var text = [UInt8](repeating: 0, count: 64)
        let count = text.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
        guard count > 0 else { throw SystemError("read \(path)") }
        return Array(text.prefix(count).prefix { $0 != UInt8(ascii: "\n") })
    }
}
