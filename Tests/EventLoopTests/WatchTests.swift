import EventLoop
import Glibc
import Testing

/// Two connected sockets that do not block.
private func pair() throws -> (Int32, Int32) {
    var sockets: [Int32] = [0, 0]
    // Other tests start processes, which must not hold an end open.
    let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    try #require(socketpair(AF_UNIX, type, 0, &sockets) == 0)
    return (sockets[0], sockets[1])
}

private func take(_ descriptor: Int32, _ count: Int = 1) -> Int {
    var bytes = [UInt8](repeating: 0, count: count)
    return read(descriptor, &bytes, count)
}

@EventLoop private func turn() async {
    await EventLoop.sleep(milliseconds: 1)
    await EventLoop.sleep(milliseconds: 1)
}

@Suite(.timeLimit(.minutes(5))) struct WatchTests {
    @Test("A level-triggered watch tells as long as something is left")
    func watchesTheLevel() async throws {
        try await onLoop {
            let (near, far) = try pair()
            defer { close(near); close(far) }
            Sockets.send([1, 2, 3], to: far)
            let calls = try await withUnsafeThrowingContinuation {
                (continuation: UnsafeContinuation<Int, any Error>) in
                var calls = 0
                var watch: Watch?
                do {
                    watch = try EventLoop.watch(near, for: .readable) { readiness in
                        calls += 1
                        #expect(readiness.contains(.readable))
                        #expect(take(near) == 1)
                        if !Sockets.isReady(near, for: .readable) {
                            watch?.cancel()
                            continuation.resume(returning: calls)
                        }
                    }
                } catch {
                    continuation.resume(throwing: error)
                }
            }
            #expect(calls == 3)
        }
    }

    @Test("An edge-triggered watch tells once for each change")
    func watchesTheEdge() async throws {
        try await onLoop {
            let (near, far) = try pair()
            defer { close(near); close(far) }
            var calls = 0
            let watch = try EventLoop.watch(near, for: [.readable, .edgeTriggered]) { _ in
                calls += 1
            }
            Sockets.send([1], to: far)
            await turn()
            #expect(calls == 1)
            Sockets.send([2], to: far)
            await turn()
            #expect(calls == 2)
            watch.cancel()
        }
    }

    @Test("A watch can wait for something else, or pause")
    func changesItsInterest() async throws {
        try await onLoop {
            let (near, far) = try pair()
            defer { close(near); close(far) }
            var seen: [Readiness] = []
            let watch = try EventLoop.watch(near, for: []) { seen.append($0) }
            Sockets.send([1], to: far)
            await turn()
            #expect(seen == [])
            try watch.change(to: [.writable, .edgeTriggered])
            await turn()
            #expect(seen == [.writable])
            try watch.change(to: [.readable, .edgeTriggered])
            await turn()
            #expect(seen == [.writable, .readable])
            watch.cancel()
            try watch.change(to: .readable)
            await turn()
            #expect(seen.count == 2)
        }
    }

    @Test("A peer that closes its side, or both, is told")
    func tellsOfTheEnd() async throws {
        try await onLoop {
            let (near, far) = try pair()
            defer { close(near); close(far) }
            var seen: Readiness = []
            let watch = try EventLoop.watch(near, for: [.readable, .peerClosed, .edgeTriggered]) {
                seen.formUnion($0)
            }
            shutdown(far, Int32(SHUT_WR))
            await turn()
            #expect(seen.contains(.peerClosed) && seen.isDisjoint(with: .hungUp))
            shutdown(far, Int32(SHUT_RDWR))
            await turn()
            #expect(!seen.isDisjoint(with: .hungUp))
            watch.cancel()
        }
    }

    @Test("A handler may cancel its own watch, and is not called again")
    func cancelsItself() async throws {
        try await onLoop {
            let (near, far) = try pair()
            defer { close(near); close(far) }
            var calls = 0
            var watch: Watch?
            watch = try EventLoop.watch(near, for: .readable) { _ in
                calls += 1
                watch?.cancel()
                watch?.cancel()
            }
            Sockets.send([1], to: far)
            await turn()
            #expect(calls == 1)
        }
    }

    @Test("What was reported for a cancelled watch reaches neither it nor its descriptor's heir")
    func dropsStaleEvents() async throws {
        try await onLoop {
            let (first, firstPeer) = try pair()
            let (second, secondPeer) = try pair()
            var calls: [String] = []
            var watches: [Int32: Watch] = [:]
            var heir: Watch?
            // Both are reported in one turn; whoever comes first puts another file in the place of
            // the other one, which has nothing to read.
            let (quiet, quietPeer) = try pair()
            @EventLoop func handle(_ name: String, other: Int32) {
                calls.append(name)
                watches.values.forEach { $0.cancel() }
                // In one step: another thread must not get the number in between.
                let reused = dup2(quiet, other)
                #expect(reused == other)
                heir = try? EventLoop.watch(reused, for: .readable) { _ in calls.append("heir") }
            }
            watches[first] = try EventLoop.watch(first, for: .readable) { _ in
                handle("first", other: second)
            }
            watches[second] = try EventLoop.watch(second, for: .readable) { _ in
                handle("second", other: first)
            }
            Sockets.send([1], to: firstPeer)
            Sockets.send([1], to: secondPeer)
            await turn()
            #expect(calls.count == 1, "\(calls)")
            Sockets.send([1], to: quietPeer)
            await turn()
            #expect(calls.count >= 2 && Set(calls.dropFirst()) == ["heir"], "\(calls)")
            heir?.cancel()
            for descriptor in [first, firstPeer, second, secondPeer, quiet, quietPeer] {
                close(descriptor)
            }
        }
    }

    @Test("What cannot be watched is refused with the call's name")
    func refusesFiles() async throws {
        try await onLoop {
            let file = open("/proc/self/exe", O_RDONLY)
            defer { close(file) }
            #expect(throws: SystemError.self) { try EventLoop.watch(file, for: .readable) { _ in } }
            #expect(throws: SystemError.self) { try EventLoop.watch(-1, for: .readable) { _ in } }
            // Two watches on one descriptor would be one too many.
            let (near, far) = try pair()
            let watch = try EventLoop.watch(near, for: .readable) { _ in }
            #expect(throws: SystemError.self) { try EventLoop.watch(near, for: .readable) { _ in } }
            watch.cancel()
            close(near)
            close(far)
        }
    }
}
