// A libcurl multi handle on the event loop: its sockets, its timer, its finished transfers.
//
// Owns the CURLM, and a Watch for each socket that libcurl wants watched. Easy handles that are in
// it belong to their calls. libcurl calls back on the loop's thread from inside its own functions,
// where most of them may not be called again: such calls are put off until `settle`. Knows nothing
// of HTTP.

internal import CCurl
internal import EventLoop
internal import Glibc

/// Runs transfers on the loop.
@EventLoop final class CurlMulti {
    /// Which addresses libcurl has learned, see `NameCache`.
    var knownAddresses: [String: String] = [:]

    // Freed in deinit, when no easy handle is left in it.
    private let multi: UnsafeMutableRawPointer
    // Outlives `multi`, whose cleanup closes sockets through it.
    private let sockets = SocketTable()
    private let configuration: CurlUpstream.Configuration
    private var idle: [EasyHandle] = []
    private var depth = 0
    private var isSettling = false
    private var postponed: [() -> Void] = []

    init(_ configuration: CurlUpstream.Configuration) {
        guard let multi = curl_multi_init() else {
            preconditionFailure("curl_multi_init failed: no calls are possible")
        }
        self.multi = multi
        self.configuration = configuration
        let context = Unmanaged.passUnretained(sockets).toOpaque()
        proxy_gpt_curl_multi_set_long(multi, CURLMOPT_MAXCONNECTS, configuration.connections)
        proxy_gpt_curl_multi_set_pointer(multi, CURLMOPT_SOCKETDATA, context)
        proxy_gpt_curl_multi_set_socket_callback(multi) { _, descriptor, what, context, _ in
            EventLoop.assumeIsolated { SocketTable.at(context)?.change(descriptor, to: what) }
            return 0
        }
        proxy_gpt_curl_multi_set_pointer(multi, CURLMOPT_TIMERDATA, context)
        proxy_gpt_curl_multi_set_timer_callback(multi) { _, milliseconds, context in
            EventLoop.assumeIsolated { SocketTable.at(context)?.setTimer(Int64(milliseconds)) }
            return 0
        }
        sockets.onReady = { [weak self] descriptor, mask in self?.act(descriptor, mask) }
    }

    // On the loop: libcurl closes the kept connections through SocketTable.
    isolated deinit {
        curl_multi_cleanup(multi)
    }

    /// Returns a handle for one call: one that has served before, if there is any.
    func takeHandle() -> EasyHandle? {
        idle.popLast()
            ?? EasyHandle(
                configuration, sockets: Unmanaged.passUnretained(sockets).toOpaque())
    }

    /// Takes a handle back that has been removed.
    func giveBack(_ handle: EasyHandle) {
        handle.release()
        if idle.count < 128 { idle.append(handle) }
    }

    /// Whether libcurl is at work further up the stack, so that its functions must wait.
    var isBusy: Bool { depth > 0 }

    /// Does something when libcurl is no longer at work.
    func afterwards(_ body: @escaping () -> Void) {
        postponed.append(body)
    }

    // MARK: - Transfers

    /// Starts a transfer; on a kept connection its request is written before this returns.
    func add(_ handle: EasyHandle) -> Bool {
        guard curl_multi_add_handle(multi, handle.curl) == CURLM_OK else { return false }
        act(-1, 0)
        return true
    }

    /// Ends a transfer, whatever its state: closes its connection if it is under way.
    func remove(_ handle: EasyHandle) {
        enter { curl_multi_remove_handle(multi, handle.curl) }
    }

    /// Sets which directions of a transfer are paused.
    func pause(_ handle: EasyHandle, _ directions: Int32) {
        // curl_easy_pause delivers the data that libcurl has kept, from inside itself.
        enter { _ = curl_easy_pause(handle.curl, directions) }
    }

    /// Whether the upstream has ended a kept connection, seen by the port at this end.
    func hasEnded(connectionOn port: UInt16) -> Bool {
        sockets.hasInputWhileIdle(onPort: port)
    }

    /// Makes up for a timer that libcurl finds too early, and then does not ask for again.
    func nudge() {
        if sockets.isLate { act(-1, 0) }
    }

    private func act(_ descriptor: Int32, _ mask: Int32) {
        enter {
            var running: Int32 = 0
            curl_multi_socket_action(multi, descriptor, mask, &running)
        }
    }

    private func enter(_ body: () -> Void) {
        depth += 1
        body()
        depth -= 1
        if depth == 0 && !isSettling { settle() }
    }

    /// Does the work that was put off while libcurl was running, and the work that this adds.
    private func settle() {
        isSettling = true
        defer { isSettling = false }
        var rounds = 0
        var work: [() -> Void] = []
        repeat {
            rounds += 1
            if sockets.takeDue() { act(-1, 0) }
            collect()
            work = postponed
            postponed.removeAll()
            for body in work { body() }
        } while !work.isEmpty || (sockets.isDue && rounds < 8)
        sockets.arm()
    }

    /// Ends the calls whose transfers have ended.
    private func collect() {
        var left: Int32 = 0
        while let message = curl_multi_info_read(multi, &left) {
            // The message dies with the next call of libcurl.
            guard message.pointee.msg == CURLMSG_DONE, let curl = message.pointee.easy_handle
            else { continue }
            let result = proxy_gpt_curl_message_result(message)
            guard let handle = EasyHandle.of(curl) else { continue }
            handle.call?.transferEnded(result, handle.errorDescription)
        }
    }
}
