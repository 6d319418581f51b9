internal import EventLoop
internal import Glibc
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

@Suite struct StreamerLockTests {
    @Test func `a second streamer gets an error with the directory and the process that has it`()
        throws
    {
        let place = try Place()
        let directory = place.directory
        defer { unlink(directory + "/streamer.lock") }
        let first = try StreamerLock(stateDirectory: directory)
        let error = #expect(throws: StreamerLock.InUse.self) {
            try StreamerLock(stateDirectory: directory)
        }
        #expect(
            error?.description
                == "the state directory \(directory) is in use by the streamer of process \(getpid())"
        )
        withExtendedLifetime(first) {}
    }

    @Test func `the lock is free again when its holder is gone`() throws {
        let place = try Place()
        defer { unlink(place.directory + "/streamer.lock") }
        for _ in 0..<2 {
            let lock = try StreamerLock(stateDirectory: place.directory)
            withExtendedLifetime(lock) {}
        }
    }

    @Test func `a link at the lock's path is not followed`() throws {
        let place = try Place()
        let path = place.directory + "/streamer.lock"
        defer { unlink(path) }
        #expect(symlink(place.directory + "/other", path) == 0)
        #expect(throws: SystemError.self) {
            try StreamerLock(stateDirectory: place.directory)
        }
        #expect(access(place.directory + "/other", F_OK) != 0)
    }
}

@Suite struct WakeupSocketTests {
    private let place: Place
    private var path: String { place.directory + "/bell.sock" }

    init() throws { place = try Place() }

    @EventLoop private func isReached(_ socket: WakeupSocket) throws -> Bool {
        let sender = try DatagramSocket()
        return sender.send([1], to: try Sockets.UnixAddress(path: path))
            && Sockets.isReady(socket.descriptor, for: .readable)
    }

    @Test func `a name that is gone is made again, and removed at the end`() async throws {
        let (place, path) = (place, path)
        try await onLoop {
            let socket = try WakeupSocket(.path(path))
            #expect(try socket.restore() == .isInPlace)
            unlink(path)
            #expect(try !isReached(socket))
            #expect(try socket.restore() == .isNew)
            #expect(try isReached(socket) && socket.restore() == .isInPlace)
            socket.removeName()
            #expect(access(path, F_OK) != 0)
        }
        withExtendedLifetime(place) {}
    }

    @Test func `a living process's name is left to it, and taken when that has gone`() async throws
    {
        let (place, path) = (place, path)
        try await onLoop {
            let socket = try WakeupSocket(.path(path))
            var other: DatagramSocket? = try DatagramSocket(at: path)
            #expect(try socket.restore() == .isTaken)
            socket.removeName()
            #expect(DatagramSocket.isBound(at: path))
            withExtendedLifetime(other) {}
            other = nil
            #expect(!DatagramSocket.isBound(at: path))
            #expect(try socket.restore() == .isNew)
            #expect(try isReached(socket))
            socket.removeName()
        }
        withExtendedLifetime(place) {}
    }

    @Test func `a socket that another process holds keeps its name`() async throws {
        let (place, path) = (place, path)
        try await onLoop {
            let holder = try DatagramSocket(at: path)
            let socket = try WakeupSocket(.descriptor(dup(holder.descriptor)))
            #expect(try socket.restore() == .isInPlace)
            #expect(try isReached(socket))
            socket.removeName()
            #expect(DatagramSocket.isBound(at: path))
            // The process that holds it does not see that its name is gone.
            unlink(path)
            #expect(try socket.restore() == .isNew)
            socket.drain()
            #expect(try isReached(socket))
            socket.removeName()
            #expect(access(path, F_OK) != 0)
        }
        withExtendedLifetime(place) {}
    }

    @Test func `a name that a killed process has left is made anew`() async throws {
        let (place, path) = (place, path)
        try await onLoop {
            let holder = try DatagramSocket(at: path)
            unlink(path)
            _ = try DatagramSocket(at: path)
            let socket = try WakeupSocket(.descriptor(dup(holder.descriptor)))
            #expect(try socket.restore() == .isNew)
            socket.removeName()
        }
        withExtendedLifetime(place) {}
    }

    private func onLoop(_ body: @escaping @EventLoop @Sendable () throws -> Void) async throws {
        try await body()
    }
}
