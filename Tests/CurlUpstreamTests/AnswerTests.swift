import CurlUpstream
import EventLoop
import Glibc
import ProxyGPT
import Testing

@Suite(.timeLimit(.minutes(5))) struct AnswerTests {
    @Test func requestAndAnswerPassByteByByte() async throws {
        let requests = Mailbox<Connection.Request>()
        let body = (0...255).map { UInt8($0) } + Array("\r\n\r\n".utf8)
        let upstream = ScriptedUpstream { connection, _ in
            guard let request = connection.readRequest() else { return }
            requests.post(request)
            connection.write(
                "HTTP/1.1 299 Odd\r\nX-B: 1\r\nx-a: 2\r\nX-B: 3\r\nContent-Encoding: gzip\r\n"
                    + "Content-Length: \(body.count)\r\n\r\n")
            connection.write(body)
            connection.waitForEnd()
        }
        let sent = Pieces("{\"a\":1}")
        let (head, whole) = try await onLoop {
            let call = UpstreamCall(
                method: "PaTcH", url: upstream.url("/v1/a%2Fb/../c//d?x=%20&&y="),
                headers: [
                    Header("Content-Type", "application/json"), Header("X-Twice", "1"),
                    Header("X-Twice", "2"), Header("User-Agent", "sdk/1"),
                ], body: sent)
            let reply = try await makeUpstream().start(call)
            return (reply.head, await readAll(reply))
        }
        #expect(head.status == 299)
        #expect(
            head.headers == [
                Header("X-B", "1"), Header("x-a", "2"), Header("X-B", "3"),
                Header("Content-Encoding", "gzip"), Header("Content-Length", "\(body.count)"),
            ])
        #expect(whole.body == body)
        #expect(whole.failure == nil)
        let request = try await requests.take()
        #expect(
            request.head
                == """
                PaTcH /v1/a%2Fb/../c//d?x=%20&&y= HTTP/1.1\r
                Host: 127.0.0.1:\(upstream.port)\r
                Content-Type: application/json\r
                X-Twice: 1\r
                X-Twice: 2\r
                User-Agent: sdk/1\r
                Content-Length: 7
                """)
        #expect(request.body == Array("{\"a\":1}".utf8))
    }

    static let chunked =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n"
        + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: 1\r\n\r\n"
    static let sized = "HTTP/1.1 200 OK\r\nA: 1 folded\r\nContent-Length: 11\r\n\r\nhello world"
    static let open = "HTTP/1.0 200 OK\r\nA: 1 folded\r\n\r\nhello world"

    @Test(arguments: [chunked, sized, open])
    func anAnswerMaySplitAtEveryByte(answer: String) async throws {
        let bytes = Array(answer.utf8)
        let upstream = ScriptedUpstream { connection, number in
            guard connection.readRequest() != nil else { return }
            connection.write(Array(bytes[..<number]))
            // Gives the reader time to take the first part alone; right in either case.
            usleep(500)
            connection.write(Array(bytes[number...]))
        }
        let results = try await onLoop {
            var results: [String] = []
            for _ in 0..<bytes.count {
                let reply = try await makeUpstream().start(post(upstream.url(), nil))
                let whole = await readAll(reply)
                let failure = whole.failure.map { "\($0)" } ?? ""
                let header = reply.head.value(of: "a") ?? ""
                results.append("\(reply.head.status) \(header) \(whole.text)\(failure)")
            }
            return results
        }
        #expect(Set(results) == ["200 1 folded hello world"])
        #expect(upstream.connections == bytes.count)
    }

    @Test func bytesThatAreNoUTF8PassBothWays() async throws {
        let raw = [UInt8(ascii: "a"), 0xE9, 0x80, 0xFF]
        let requests = Mailbox<[UInt8]>()
        let upstream = ScriptedUpstream { connection, _ in
            guard let bytes = connection.read() else { return }
            requests.post(bytes)
            connection.write(Array("HTTP/1.1 200 OK\r\nX-Raw: ".utf8) + raw)
            connection.write("\r\nContent-Length: 0\r\n\r\n")
            connection.waitForEnd()
        }
        let head = try await onLoop {
            let call = get(upstream.url("/v1/x?") + raw, [Header("X-Sent", bytes: raw)])
            return try await makeUpstream().start(call).head
        }
        #expect(head.headers.first?.bytes == raw)
        let request = try await requests.take()
        #expect(
            request.starts(
                with: Array("GET /v1/x?".utf8) + raw + Array(" HTTP/1.1\r\n".utf8)))
        let line = Array("\r\nX-Sent: ".utf8) + raw + [13, 10]
        #expect(
            (0...(request.count - line.count)).contains {
                request[$0..<($0 + line.count)].elementsEqual(line)
            })
    }

    @Test(arguments: [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: Chunked\r\nContent-Length: 500\r\n",
    ])
    func chunksWinOverALength(lines: String) async throws {
        let upstream = ScriptedUpstream(
            answering: "HTTP/1.1 200 OK\r\n\(lines)\r\nb\r\nhello world\r\n0\r\n\r\n")
        try await onLoop {
            let client = makeUpstream()
            for _ in 0..<2 {
                let reply = try await client.start(post(upstream.url(), nil))
                #expect(reply.head.value(of: "Content-Length") == nil)
                let whole = await readAll(reply)
                #expect(whole.text == "hello world")
                #expect(whole.failure == nil)
            }
        }
        #expect(upstream.connections == 1)
    }

    @Test(arguments: [
        "-1", "+5", "5, 5", "5 5", "9223372036854775808", "five", "5\r\nContent-Length: 6",
        "5\r\nTransfer-Encoding: identity",
    ])
    func aLengthThatIsNoneIsACut(length: String) async throws {
        let upstream = ScriptedUpstream { connection, _ in
            guard connection.readRequest() != nil else { return }
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: \(length)\r\n\r\nhello world")
        }
        let failure = try await onLoop { await failing(get(upstream.url()), with: makeUpstream()) }
        #expect(failure?.isCut == true)
    }

    @Test(arguments: ["DELETE", "GET", "POST"])
    func anEmptyBodyOfKnownLengthIsAnnounced(method: String) async throws {
        let requests = Mailbox<Connection.Request>()
        let upstream = ScriptedUpstream { connection, _ in
            guard let request = connection.readRequest() else { return }
            requests.post(request)
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        }
        try await onLoop {
            let call = UpstreamCall(
                method: method, url: upstream.url(), headers: [], body: Pieces(""))
            let reply = try await makeUpstream().start(call)
            #expect(await readAll(reply).failure == nil)
        }
        let request = try await requests.take()
        #expect(request.line == "\(method) /v1/x HTTP/1.1")
        #expect(request.values(of: "content-length") == ["0"])
        #expect(request.values(of: "content-type") == [])
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbefore",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nbefore\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nbefore",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nbefore\r\nno size\r\n",
    ])
    func bytesBeforeACutArriveAndThenTheCutIsKnown(answer: String) async throws {
        let upstream = ScriptedUpstream { connection, _ in
            guard connection.readRequest() != nil else { return }
            connection.write(answer)
        }
        let whole = try await onLoop {
            await readAll(try await makeUpstream().start(get(upstream.url())))
        }
        #expect(whole.text == "before")
        #expect(whole.failure?.isCut == true)
    }

    @Test func aResetWithinABodyThatEndsWithTheConnectionIsACut() async throws {
        let isRead = Semaphore()
        let upstream = ScriptedUpstream { connection, _ in
            guard connection.readRequest() != nil else { return }
            connection.write("HTTP/1.1 200 OK\r\n\r\nbefore")
            isRead.wait()
            connection.reset()
        }
        let (first, failure) = try await onLoop {
            let reply = try await makeUpstream().start(get(upstream.url()))
            let first = try await reply.next()
            isRead.signal()
            return (first, await readAll(reply).failure)
        }
        #expect(first == Array("before".utf8))
        #expect(failure?.isCut == true)
    }

    @Test(arguments: [
        "", "HTTP/1.1 200 OK\r\nA: 1\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
        "garbage that is no HTTP\r\n\r\n", "\u{0}\u{1}\u{2}", "HTTP/1.1 abc\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
    ])
    func whatIsNoAnswerIsACut(answer: String) async throws {
        let upstream = ScriptedUpstream { connection, _ in
            guard connection.readRequest() != nil else { return }
            connection.write(answer)
        }
        let failure = try await onLoop { await failing(get(upstream.url()), with: makeUpstream()) }
        #expect(failure?.isCut == true)
    }

    @Test func anEndlessHeadIsACut() async throws {
        let upstream = ScriptedUpstream { connection, _ in
            guard connection.readRequest() != nil else { return }
            connection.write("HTTP/1.1 200 OK\r\n")
            while connection.write("A: " + String(repeating: "x", count: 1000) + "\r\n") > 0 {}
        }
        let failure = try await onLoop { await failing(get(upstream.url()), with: makeUpstream()) }
        #expect(failure == .cut("the answer's head exceeds 64 KiB"))
    }

    @Test(arguments: ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PUT", "PATCH", "BREW"])
    func anyMethodGoesWithoutABody(method: String) async throws {
        let upstream = ScriptedUpstream { connection, _ in
            while let request = connection.readRequest() {
                let length = request.values(of: "content-length").first ?? "none"
                let body = request.line.hasPrefix("HEAD") ? "" : length
                connection.write(
                    "HTTP/1.1 200 OK\r\nX-Line: \(request.line)\r\nX-Lines: "
                        + "\(request.head.split(separator: "\r\n").count)\r\n"
                        + "Content-Length: \(length.utf8.count)\r\n\r\n\(body)")
            }
        }
        let (head, whole) = try await onLoop {
            let call = UpstreamCall(method: method, url: upstream.url(), headers: [], body: nil)
            let reply = try await makeUpstream().start(call)
            return (reply.head, await readAll(reply))
        }
        let announces = ["POST", "PUT", "PATCH"].contains(method)
        #expect(head.value(of: "x-line") == "\(method) /v1/x HTTP/1.1")
        #expect(head.value(of: "x-lines") == (announces ? "3" : "2"))
        #expect(whole.text == (method == "HEAD" ? "" : announces ? "0" : "none"))
        #expect(whole.failure == nil)
    }

    @Test(arguments: [204, 304]) func anAnswerWithoutABodyEndsAtItsHead(status: Int) async throws {
        let upstream = ScriptedUpstream(
            answering: "HTTP/1.1 \(status) X\r\nContent-Length: 5\r\n\r\n")
        let whole = try await onLoop {
            await readAll(try await makeUpstream().start(get(upstream.url())))
        }
        #expect(whole.body.isEmpty)
        #expect(whole.failure == nil)
    }

    @Test func redirectsAreHandedOnAndNotFollowed() async throws {
        let upstream = ScriptedUpstream(
            answering:
                "HTTP/1.1 302 Found\r\nLocation: /other\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
        )
        let statuses = try await onLoop {
            let client = makeUpstream()
            var statuses: [Int] = []
            for _ in 0..<2 {
                let reply = try await client.start(get(upstream.url()))
                statuses.append(reply.head.status)
                _ = await readAll(reply)
            }
            return statuses
        }
        #expect(statuses == [302, 302])
    }

    @Test func nobodyThereIsUnreachableAndSaysWhy() async throws {
        // Port 1 of loopback is nobody's.
        let failure = try await onLoop {
            await failing(get("http://127.0.0.1:1/v1/x"), with: makeUpstream())
        }
        #expect(failure?.cause?.contains("connect") == true)
    }

    @Test func aNameWithoutAddressIsUnreachable() async throws {
        let failure = try await onLoop {
            await failing(get("http://nowhere.invalid/v1/x"), with: makeUpstream())
        }
        #expect(failure?.cause?.contains("nowhere.invalid") == true)
    }
}
