// A libcurl easy handle, used for one call after another.
//
// Owns the CURL, the lists given to it and the buffer for its error text, and frees them on every
// path: the lists when a call ends, all else in deinit. libcurl's callbacks hold an unretained
// pointer to the EasyHandle. It is good as long as the CURL is in a multi handle, because the
// call that runs on it holds it until it has taken it out, and the upstream holds every call.

internal import CCurl
internal import EventLoop
internal import ProxyGPT

/// Carries one call at a time through libcurl.
@EventLoop final class EasyHandle {
    // Touched on the loop's thread, but for deinit, which has it alone.
    nonisolated(unsafe) let curl: UnsafeMutableRawPointer
    private nonisolated(unsafe) let errorText: UnsafeMutablePointer<CChar>
    private nonisolated(unsafe) var headers: UnsafeMutablePointer<curl_slist>?
    private nonisolated(unsafe) var addresses: UnsafeMutablePointer<curl_slist>?
    /// The call that runs on the handle.
    private(set) var call: CurlCall?
    private var origin = ""
    private var holdsBody = false
    private var isFresh = false

    /// - Parameter sockets: the context for opening and closing sockets, of the one multi handle in
    ///   which this handle will be used.
    init?(_ configuration: CurlUpstream.Configuration, sockets: UnsafeMutableRawPointer) {
        guard let curl = curl_easy_init() else { return nil }
        self.curl = curl
        errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
        errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
        setPolicy(configuration)
        proxy_gpt_curl_set_pointer(curl, CURLOPT_OPENSOCKETDATA, sockets)
        proxy_gpt_curl_set_pointer(curl, CURLOPT_CLOSESOCKETDATA, sockets)
        setCallbacks()
    }

    deinit {
        curl_easy_cleanup(curl)
        curl_slist_free_all(headers)
        curl_slist_free_all(addresses)
        errorText.deallocate()
    }

    /// The object behind a CURL.
    static func of(_ curl: UnsafeMutableRawPointer) -> EasyHandle? {
        var context: UnsafeMutableRawPointer?
        proxy_gpt_curl_info_pointer(curl, CURLINFO_PRIVATE, &context)
        return at(context)
    }

    private static func at(_ context: UnsafeMutableRawPointer?) -> EasyHandle? {
        context.map { Unmanaged<EasyHandle>.fromOpaque($0).takeUnretainedValue() }
    }

    /// The error, in libcurl's words.
    var errorDescription: String {
        String(cString: errorText)
    }

    /// Whether a byte of the request has left, on whichever connection.
    var hasSentAnything: Bool {
        var bytes = 0
        proxy_gpt_curl_info_long(curl, CURLINFO_REQUEST_SIZE, &bytes)
        return bytes > 0
    }

    // MARK: - What never changes

    private func setPolicy(_ configuration: CurlUpstream.Configuration) {
        set(CURLOPT_NOSIGNAL, 1)
        // Over HTTP/2 libcurl 7.88 cannot pause one stream alone, and sends the reset of a stream late.
        set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
        set(CURLOPT_PROTOCOLS_STR, "http,https")
        set(CURLOPT_FOLLOWLOCATION, 0)
        set(CURLOPT_NETRC, 0)
        set(CURLOPT_DISALLOW_USERNAME_IN_URL, 1)
        set(CURLOPT_PATH_AS_IS, 1)
        set(CURLOPT_HTTP09_ALLOWED, 0)
        set(CURLOPT_HTTP_CONTENT_DECODING, 0)
        set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1)
        set(CURLOPT_SSL_VERIFYPEER, 1)
        set(CURLOPT_SSL_VERIFYHOST, 2)
        set(CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2))
        // libcurl parses the authorities once, instead of for every connection, only if there is no
        // directory of them: "CURLOPT_CA_CACHE_TIMEOUT", and openssl.c, cache_criteria_met.
        proxy_gpt_curl_set_text(curl, CURLOPT_CAPATH, nil)
        if let file = configuration.certificateFile { set(CURLOPT_CAINFO, file) }
        set(CURLOPT_TCP_NODELAY, 1)
        set(CURLOPT_TCP_KEEPALIVE, 1)
        set(CURLOPT_TCP_KEEPIDLE, 30)
        set(CURLOPT_TCP_KEEPINTVL, 15)
        set(CURLOPT_CONNECTTIMEOUT_MS, Int(clamping: configuration.connectLimit))
        // Shorter than the 60 seconds after which many balancers close an idle connection.
        set(CURLOPT_MAXAGE_CONN, 50)
        // A thousand calls have a thousand of these buffers.
        set(CURLOPT_BUFFERSIZE, 4 * 1024)
        // The least that libcurl takes.
        set(CURLOPT_UPLOAD_BUFFERSIZE, 16 * 1024)
        proxy_gpt_curl_set_pointer(curl, CURLOPT_ERRORBUFFER, errorText)
    }

    private func setCallbacks() {
        let context = Unmanaged.passUnretained(self).toOpaque()
        proxy_gpt_curl_set_pointer(curl, CURLOPT_PRIVATE, context)
        proxy_gpt_curl_set_pointer(curl, CURLOPT_HEADERDATA, context)
        proxy_gpt_curl_set_data_callback(curl, CURLOPT_HEADERFUNCTION) { bytes, _, count, context in
            EventLoop.assumeIsolated {
                let line = UnsafeRawBufferPointer(start: bytes, count: count)
                return EasyHandle.at(context)?.call?.takeHeaderLine(line) == true ? count : 0
            }
        }
        proxy_gpt_curl_set_pointer(curl, CURLOPT_WRITEDATA, context)
        proxy_gpt_curl_set_data_callback(curl, CURLOPT_WRITEFUNCTION) { bytes, _, count, context in
            EventLoop.assumeIsolated {
                let piece = UnsafeRawBufferPointer(start: bytes, count: count)
                return EasyHandle.at(context)?.call?.takeBody(piece) ?? 0
            }
        }
        proxy_gpt_curl_set_pointer(curl, CURLOPT_READDATA, context)
        proxy_gpt_curl_set_data_callback(curl, CURLOPT_READFUNCTION) { bytes, _, count, context in
            EventLoop.assumeIsolated {
                let target = UnsafeMutableRawBufferPointer(start: bytes, count: count)
                return EasyHandle.at(context)?.call?.giveBody(target) ?? Int(CURL_READFUNC_ABORT)
            }
        }
        proxy_gpt_curl_set_pointer(curl, CURLOPT_PREREQDATA, context)
        proxy_gpt_curl_set_prerequest_callback(curl) { context, _, _, _, port in
            EventLoop.assumeIsolated {
                let port = UInt16(truncatingIfNeeded: port)
                return EasyHandle.at(context)?.call?.mayBeSent(fromPort: port) == true
                    ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT
            }
        }
        proxy_gpt_curl_set_open_callback(curl) { context, _, address in
            EventLoop.assumeIsolated {
                guard let address, let table = SocketTable.at(context) else { return -1 }
                return table.open(address.pointee)
            }
        }
        proxy_gpt_curl_set_close_callback(curl) { context, descriptor in
            EventLoop.assumeIsolated { SocketTable.at(context)?.close(descriptor) ?? -1 }
        }
    }

    // MARK: - What each call sets

    /// Makes the handle ready for a call.
    /// - Parameters:
    ///   - keyLine: the header that carries the key.
    ///   - addresses: `host:port:address,…`, where libcurl does not have them yet.
    func prepare(_ call: CurlCall, keyLine: [UInt8]?, addresses: String?) {
        self.call = call
        errorText.pointee = 0
        let request = call.request
        if origin != request.target.origin {
            origin = request.target.origin
            set(CURLOPT_URL, origin + "/")
            setProxy(call.proxy)
        }
        // A proxy that does not tunnel gets the whole address (RFC 9112, 3.2.2).
        let isTunnelled = request.target.isSecure || call.proxy == nil
        var requestTarget = isTunnelled ? [] : Array(origin.utf8)
        requestTarget.append(contentsOf: request.target.path)
        set(CURLOPT_REQUEST_TARGET, requestTarget)
        for line in request.lines { append(line) }
        if let keyLine { append(keyLine) }
        proxy_gpt_curl_set_list(curl, CURLOPT_HTTPHEADER, headers)
        if let addresses {
            self.addresses = curl_slist_append(nil, addresses)
            proxy_gpt_curl_set_list(curl, CURLOPT_RESOLVE, self.addresses)
        }
        setBody(call)
        call.forgetRequest()
    }

    /// Adds a header's line, which ends with a zero byte.
    private func append(_ line: [UInt8]) {
        headers = line.withUnsafeBytes {
            curl_slist_append(headers, $0.assumingMemoryBound(to: CChar.self).baseAddress)
        }
    }

    /// Sets the proxy before the origin. Never one of the environment: the settings have decided.
    private func setProxy(_ proxy: UpstreamProxy?) {
        set(CURLOPT_PROXY, proxy?.description ?? "")
        set(CURLOPT_NOPROXY, proxy == nil ? "*" : "")
        proxy_gpt_curl_set_text(curl, CURLOPT_PROXYUSERNAME, proxy?.credential?.user)
        proxy_gpt_curl_set_text(
            curl, CURLOPT_PROXYPASSWORD, proxy?.credential?.password.revealed)
    }

    private func setBody(_ call: CurlCall) {
        let method = call.request.method
        set(CURLOPT_HTTPGET, 1)
        switch call.body {
        case .none where method == "HEAD":
            set(CURLOPT_NOBODY, 1)
        case .none:
            break
        case .whole(let bytes):
            // Small enough to leave in one write together with the head. libcurl copies it.
            proxy_gpt_curl_set_offset(curl, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(bytes.count))
            bytes.withUnsafeBytes { bytes in
                let start = bytes.baseAddress ?? UnsafeRawPointer(errorText)
                proxy_gpt_curl_set_pointer(
                    curl, CURLOPT_COPYPOSTFIELDS, UnsafeMutableRawPointer(mutating: start))
            }
            holdsBody = true
        case .pulled(let upload):
            set(CURLOPT_UPLOAD, 1)
            let length = curl_off_t(upload.length ?? -1)
            proxy_gpt_curl_set_offset(curl, CURLOPT_INFILESIZE_LARGE, length)
        }
        set(CURLOPT_CUSTOMREQUEST, method)
    }

    /// Has the call use a new connection. The handle is in no multi.
    func takeFreshConnection() {
        errorText.pointee = 0
        set(CURLOPT_FRESH_CONNECT, 1)
        isFresh = true
    }

    /// Lets go of everything that belonged to the call. The handle is in no multi any more.
    func release() {
        if isFresh { set(CURLOPT_FRESH_CONNECT, 0) }
        isFresh = false
        if holdsBody { proxy_gpt_curl_set_pointer(curl, CURLOPT_POSTFIELDS, nil) }
        holdsBody = false
        call = nil
        proxy_gpt_curl_set_list(curl, CURLOPT_HTTPHEADER, nil)
        curl_slist_free_all(headers)
        headers = nil
        if addresses != nil {
            proxy_gpt_curl_set_list(curl, CURLOPT_RESOLVE, nil)
            curl_slist_free_all(addresses)
            addresses = nil
        }
    }

    private func set(_ option: CURLoption, _ value: Int) {
        proxy_gpt_curl_set_long(curl, option, value)
    }

    private func set(_ option: CURLoption, _ value: String) {
        proxy_gpt_curl_set_text(curl, option, value)
    }

    /// Sets text that may be no UTF-8.
    private func set(_ option: CURLoption, _ value: [UInt8]) {
        (value + [0]).withUnsafeBytes {
            _ = proxy_gpt_curl_set_text(
                curl, option, $0.assumingMemoryBound(to: CChar.self).baseAddress)
        }
    }
}
