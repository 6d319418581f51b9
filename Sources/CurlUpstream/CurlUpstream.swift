// Calls to the upstream over libcurl's multi interface, on the process's event loop.
//
// HTTP/1.1 always. Owned C memory: a CURLM by its CurlMulti, a CURL with its lists by its
// EasyHandle. The table of active calls holds each call, the call its handle, until the handle has
// left libcurl; so libcurl's pointers into Swift never dangle. The upstream itself lives while a
// call does. The worker makes one; HTTPAPI knows it as `Upstream`. Knows nothing of the meaning of
// the bytes.

internal import CCurl
package import EventLoop
package import ProxyGPT

/// Calls the upstream of the settings. The key is added here and nowhere else.
@EventLoop package final class CurlUpstream: Upstream {
    /// The operator's choices; times are in milliseconds.
    package struct Configuration: Sendable {
        package var key: Secret?
        package var keyHeader: UpstreamAddress.KeyHeader
        /// A file of certificate authorities that replaces the system's, or nil.
        package var certificateFile: String?
        package var proxies: UpstreamProxyRules
        /// Until the request can be sent: name, connection, TLS.
        package var connectLimit: Int64
        /// From the start of the call until the final answer's head is there.
        package var firstByteLimit: Int64
        /// Silence within the answer, while we are ready to read.
        package var idleLimit: Int64
        package var callLimit: Int64
        /// How many connections are kept open, those in use among them.
        package var connections: Int

        package init(
            key: Secret?, keyHeader: UpstreamAddress.KeyHeader = .bearer,
            certificateFile: String? = nil, proxies: UpstreamProxyRules = .none,
            connectLimit: Int64 = 10_000,
            firstByteLimit: Int64 = 600_000, idleLimit: Int64 = 120_000,
            callLimit: Int64 = 1_800_000, connections: Int = 1024
        ) {
            self.key = key
            self.keyHeader = keyHeader
            self.certificateFile = certificateFile
            self.proxies = proxies
            self.connectLimit = connectLimit
            self.firstByteLimit = firstByteLimit
            self.idleLimit = idleLimit
            self.callLimit = callLimit
            self.connections = connections
        }
    }

    private let configuration: Configuration
    private let keyLine: Secret?
    private let names: NameCache
    private lazy var multi = CurlMulti(configuration)
    private var active: [CurlCall] = []
    private var sweeper: Timer?

    /// How often calls are held against their limits.
    private static let sweepInterval: Int64 = 100
    /// A body up to this size is gathered first and leaves in one piece with its head.
    private static let gatherLimit: Int64 = 64 * 1024
    private static let isReady = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK

    package convenience init(_ configuration: Configuration) {
        self.init(configuration, names: NameCache())
    }

    init(_ configuration: Configuration, names: NameCache) {
        precondition(Self.isReady, "curl_global_init failed: no calls are possible")
        self.configuration = configuration
        self.names = names
        keyLine = configuration.key.map { key in
            switch configuration.keyHeader {
            case .bearer: Secret("Authorization: Bearer " + key.revealed)
            case .apiKey: Secret("api-key: " + key.revealed)
            }
        }
    }

    @EventLoop package func start(
        _ call: UpstreamCall
    ) async throws(UpstreamFailure) -> any UpstreamReply {
        let request = try OutgoingRequest(call)
        let body = try await body(of: call)
        let target = request.target
        let proxy = configuration.proxies.proxy(
            for: target.host, port: target.port, isSecure: target.isSecure)
        let call = CurlCall(request, body: body, proxy: proxy, upstream: self)
        if Task.isCancelled {
            call.finish(.failed(.cancelled))
            throw .cancelled
        }
        begin(call)
        let head = try await call.awaitHead()
        return CurlReply(head, call)
    }

    // MARK: - Beginning

    private func body(of call: UpstreamCall) async throws(UpstreamFailure) -> CurlCall.Body {
        guard let source = call.body, call.method != "HEAD" else {
            return OutgoingRequest.announcesBody(call.method) ? .whole([]) : .none
        }
        guard let length = source.length, length <= Self.gatherLimit else {
            return .pulled(UploadBody(source))
        }
        var bytes: [UInt8] = []
        do {
            while bytes.count < Int(length), let piece = try await source.next() {
                if bytes.isEmpty { bytes = piece } else { bytes += piece }
            }
        } catch {
            throw .cancelled
        }
        guard bytes.count == Int(length) else { throw .cancelled }
        return .whole(bytes)
    }

    private func begin(_ call: CurlCall) {
        call.index = active.count
        active.append(call)
        if sweeper == nil { scheduleSweep() }
        let host = call.nextHop.host
        if NameCache.needsNoLookUp(host) {
            transfer(call, addresses: nil)
            return
        }
        names.resolve(host) { [self] answer in
            guard call.end == nil else { return }
            switch answer {
            case .addresses(let addresses):
                transfer(call, addresses: addresses.joined(separator: ","))
            case .failed(let text):
                end(call, .failed(.unreachable("no address for \(host): \(text)")))
            }
        }
    }

    /// Hands a call to libcurl.
    private func transfer(_ call: CurlCall, addresses: String?) {
        guard let handle = multi.takeHandle() else {
            end(call, .failed(.unreachable("no memory for the call")))
            return
        }
        // libcurl keeps these addresses for all later calls.
        let name = "\(call.nextHop.host):\(call.nextHop.port)"
        let isNews = addresses != nil && multi.knownAddresses[name] != addresses
        handle.prepare(
            call, keyLine: keyLine.map { OutgoingRequest.line($0.revealed) },
            addresses: isNews ? addresses.map { name + ":" + $0 } : nil)
        call.transfer = (multi, handle)
        if add(call) && isNews { multi.knownAddresses[name] = addresses }
    }

    private func add(_ call: CurlCall) -> Bool {
        guard let (multi, handle) = call.transfer else { return false }
        if multi.add(handle) { return true }
        call.transfer = nil
        multi.giveBack(handle)
        end(call, .failed(.unreachable("libcurl refused the call")))
        return false
    }

    /// Starts a call once more, on a new connection. Called after a transfer that sent nothing.
    func restart(_ call: CurlCall) {
        guard call.end == nil, let (multi, handle) = call.transfer else { return }
        multi.remove(handle)
        handle.takeFreshConnection()
        _ = add(call)
    }

    // MARK: - Ending

    /// Ends a call and takes it out of libcurl, which closes its connection if it is still open; no
    /// effect after its end.
    func end(_ call: CurlCall, _ end: CurlCall.End) {
        guard call.end == nil else { return }
        if let (multi, handle) = call.transfer {
            if multi.isBusy {
                multi.afterwards { self.end(call, end) }
                return
            }
            call.transfer = nil
            multi.remove(handle)
            multi.giveBack(handle)
        }
        if let last = active.popLast(), last !== call {
            active[call.index] = last
            last.index = call.index
        }
        call.finish(end)
    }

    // MARK: - Limits

    // One timer for all calls: four limits for each call would be four timers, nearly all cancelled.
    private func scheduleSweep() {
        sweeper = EventLoop.schedule(afterMilliseconds: Self.sweepInterval) { self.sweep() }
    }

    private func sweep() {
        sweeper = nil
        let now = monotonicMilliseconds()
        for call in active {
            if let failure = overdue(call, now) { end(call, .failed(failure)) }
        }
        guard !active.isEmpty else { return }
        multi.nudge()
        scheduleSweep()
    }

    private func overdue(_ call: CurlCall, _ now: Int64) -> UpstreamFailure? {
        let age = now - call.startedAt
        if age >= configuration.callLimit { return .callTimeout }
        if !call.head.isWhole {
            if !call.isConnected && age >= configuration.connectLimit { return .connectTimeout }
            return age >= configuration.firstByteLimit ? .firstByteTimeout : nil
        }
        let isIdle = !call.isReceivingPaused && now - call.lastActivity >= configuration.idleLimit
        return isIdle ? .idleTimeout : nil
    }
}
