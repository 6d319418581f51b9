internal import CCurl
internal import EventLoop
internal import Glibc

/// The sockets of a multi handle and when libcurl wants to be called next.
///
/// A connection that goes idle stays watched, and costs no system call when it is used again; the
/// watch ends with the first event on it. Sockets are opened and closed here, so that no entry
/// outlives its descriptor unnoticed.
@EventLoop final class SocketTable {
    private struct Entry {
        let watch: Watch
        var interest: Readiness
        var isIdle = false
    }

    /// Called with a socket that is ready and its events, as libcurl's flags; -1 for the timer.
    var onReady: ((Int32, Int32) -> Void)?
    private var entries: [Int32: Entry] = [:]
    /// The connections that have been idle, by the port at this end.
    private var kept: [UInt16: Int32] = [:]
    private var ports: [Int32: UInt16] = [:]
    /// The moment libcurl waits for.
    private var deadline: Int64?
    /// Whether that moment is now.
    private(set) var isDue = false
    private var timer: Timer?
    private var timerDeadline: Int64 = 0

    nonisolated init() {}

    static func at(_ context: UnsafeMutableRawPointer?) -> SocketTable? {
        context.map { Unmanaged<SocketTable>.fromOpaque($0).takeUnretainedValue() }
    }

    // MARK: - Sockets

    /// Opens a socket for libcurl; -1 with errno when the kernel refuses.
    func open(_ address: curl_sockaddr) -> Int32 {
        let descriptor = socket(
            address.family, address.socktype | Int32(SOCK_CLOEXEC.rawValue), address.protocol)
        // libcurl closes a socket that did not connect without a callback, and when the next one
        // gets the same number, it takes that for watched already.
        if let stale = entries.removeValue(forKey: descriptor) {
            stale.watch.cancel()
            forgetPort(of: descriptor)
            watch(descriptor, for: stale.interest)
        }
        return descriptor
    }

    func close(_ descriptor: Int32) -> Int32 {
        entries.removeValue(forKey: descriptor)?.watch.cancel()
        forgetPort(of: descriptor)
        return Glibc.close(descriptor)
    }

    func change(_ descriptor: Int32, to what: Int32) {
        if what == CURL_POLL_REMOVE {
            guard let entry = entries[descriptor] else { return }
            entries[descriptor]?.isIdle = true
            notePort(of: descriptor)
            if entry.interest != .readable { set(descriptor, entry.watch, .readable) }
            return
        }
        var interest: Readiness = []
        if what & CURL_POLL_IN != 0 { interest.insert(.readable) }
        if what & CURL_POLL_OUT != 0 { interest.insert(.writable) }
        guard let entry = entries[descriptor] else {
            watch(descriptor, for: interest)
            return
        }
        entries[descriptor]?.isIdle = false
        if entry.interest != interest { set(descriptor, entry.watch, interest) }
    }

    private func watch(_ descriptor: Int32, for interest: Readiness) {
        // A refusal (no memory, no descriptors) is left to the call's time limits.
        let watch = try? EventLoop.watch(descriptor, for: interest) { [weak self] readiness in
            self?.ready(descriptor, readiness)
        }
        entries[descriptor] = watch.map { Entry(watch: $0, interest: interest) }
    }

    private func set(_ descriptor: Int32, _ watch: Watch, _ interest: Readiness) {
        try? watch.change(to: interest)
        entries[descriptor]?.interest = interest
    }

    private func ready(_ descriptor: Int32, _ readiness: Readiness) {
        guard let entry = entries[descriptor] else { return }
        if entry.isIdle {
            // Most often the peer has closed: libcurl checks by itself before the next use.
            entries[descriptor] = nil
            entry.watch.cancel()
            return
        }
        var mask: Int32 = 0
        if readiness.contains(.readable) { mask |= CURL_CSELECT_IN }
        if readiness.contains(.writable) { mask |= CURL_CSELECT_OUT }
        if !readiness.isDisjoint(with: .hungUp) { mask |= CURL_CSELECT_ERR | CURL_CSELECT_IN }
        onReady?(descriptor, mask)
    }

    // MARK: - Kept connections

    private func notePort(of descriptor: Int32) {
        guard ports[descriptor] == nil, let port = Self.localPort(of: descriptor) else { return }
        ports[descriptor] = port
        kept[port] = descriptor
    }

    private static func localPort(of descriptor: Int32) -> UInt16? {
        var address = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getsockname(descriptor, $0, &length)
            }
        }
        guard result == 0 else { return nil }
        // The port is at the same offset for both families.
        return withUnsafeBytes(of: &address) {
            UInt16(bigEndian: $0.load(fromByteOffset: 2, as: UInt16.self))
        }
    }

    private func forgetPort(of descriptor: Int32) {
        guard let port = ports.removeValue(forKey: descriptor) else { return }
        if kept[port] == descriptor { kept[port] = nil }
    }

    /// Whether bytes, or the end, have come on a kept connection about to be used. Between two
    /// requests the peer sends nothing but its close. Over TLS libcurl 7.88 takes the bytes of the
    /// closing alert for a sign of life (openssl.c, ossl_check_cxn).
    func hasInputWhileIdle(onPort port: UInt16) -> Bool {
        guard let descriptor = kept[port] else { return false }
        var byte: UInt8 = 0
        let count = recv(descriptor, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT))
        return count >= 0 || (errno != EAGAIN && errno != EINTR)
    }

    // MARK: - Timer

    /// Notes when libcurl wants to be called: -1 for never, 0 for at once.
    func setTimer(_ milliseconds: Int64) {
        // libcurl rounds down, and does not ask twice when it is called too early.
        deadline =
            milliseconds < 0
            ? nil : monotonicMilliseconds() + milliseconds + (milliseconds == 0 ? 0 : 2)
        isDue = milliseconds == 0
    }

    /// Returns whether libcurl wants to be called at once, and counts on the call.
    func takeDue() -> Bool {
        guard isDue else { return false }
        isDue = false
        deadline = nil
        return true
    }

    var isLate: Bool {
        deadline.map { $0 + 20 < monotonicMilliseconds() } ?? false
    }

    /// Sees to it that a timer runs. One that is early does no harm, so it is seldom moved.
    func arm() {
        guard let deadline else { return }
        if timer != nil && timerDeadline <= deadline { return }
        timer?.cancel()
        timerDeadline = deadline
        let delay = deadline - monotonicMilliseconds()
        timer = EventLoop.schedule(afterMilliseconds: delay) { [weak self] in self?.fire() }
    }

    private func fire() {
        timer = nil
        guard let deadline else { return }
        if deadline <= monotonicMilliseconds() {
            self.deadline = nil
            onReady?(-1, 0)
        }
        arm()
    }
}
