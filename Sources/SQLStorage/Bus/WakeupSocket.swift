internal import EventLoop
internal import Glibc

/// The socket at which writers wake the streamer, and its name in the file system: a name that is
/// gone is made again, since no writer would reach this process for the rest of its life.
@EventLoop final class WakeupSocket {
    /// The result of a check of the name.
    enum Finding {
        /// Writers reach this process.
        case isInPlace
        /// The name was gone; there is a new socket under it.
        case isNew
        /// The name is another living process's.
        case isTaken
    }

    private let path: String?
    private var socket: DatagramSocket
    /// A socket that another process has bound and continues to hold.
    private let adopted: DatagramSocket?
    /// The name as this process found or made it.
    private var identity: BusFile.Identity?
    private var hasMadeName: Bool

    nonisolated init(_ place: SQLiteBusLog.WakeupAddress) throws {
        switch place {
        case .path(let path):
            self.path = path
            socket = try DatagramSocket(at: path)
            adopted = nil
            hasMadeName = true
            identity = Self.identity(of: path)
        case .descriptor(let descriptor):
            path = try Sockets.ownAddress(of: descriptor).path
            socket = DatagramSocket(adopting: descriptor)
            adopted = socket
            hasMadeName = false
            // A name without a socket was left by a process that was killed.
            identity = path.flatMap { DatagramSocket.isBound(at: $0) ? Self.identity(of: $0) : nil }
        }
    }

    var descriptor: Int32 { socket.descriptor }

    /// Reads and discards the signals that have come.
    func drain() { socket.drain() }

    /// Checks whether writers find this process, and makes the name again where none exists.
    func restore() throws -> Finding {
        guard let path else { return .isInPlace }
        let found = Self.identity(of: path)
        if let found, found == identity { return .isInPlace }
        if found != nil, DatagramSocket.isBound(at: path) { return .isTaken }
        socket = try DatagramSocket(at: path)
        hasMadeName = true
        identity = Self.identity(of: path)
        return .isNew
    }

    /// Removes the name if this process has made it.
    func removeName() {
        guard let path, hasMadeName, let identity, Self.identity(of: path) == identity else {
            return
        }
        unlink(path)
        self.identity = nil
    }

    private nonisolated static func identity(of path: String) -> BusFile.Identity? {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        return BusFile.Identity(device: UInt(status.st_dev), inode: UInt(status.st_ino))
    }
}
