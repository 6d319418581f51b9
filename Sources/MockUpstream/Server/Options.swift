/// The options of the command line.
struct Options: Equatable {
    /// The address to listen at.
    enum Address: Equatable {
        case port(Int)
        case unix(String)
    }

    /// The files that a server of TLS needs, in PEM.
    struct Certificate: Equatable {
        let chain: String
        let privateKey: String
    }

    /// The problem of a command line.
    struct Problem: Error, Equatable {
        let sentence: String
    }

    var address = Address.port(9090)
    var key: String?
    var threads = 1
    /// Milliseconds.
    var chunkDelay = 0
    var keepsRecords = true
    /// With a certificate the server speaks TLS too, on a port of its own.
    var certificate: Certificate?
    var wantsHelp = false
    var wantsVersion = false

    static let usage =
        "usage: mock-upstream [--port N | --unix PATH] [--key K] [--threads N] "
        + "[--chunk-delay-ms N] [--no-record] [--certificate PATH --private-key PATH] [--version]"

    static func read(_ arguments: [String]) throws(Problem) -> Options {
        var options = Options()
        var address: Address?
        var chain: String?
        var privateKey: String?
        var rest = arguments[...]
        while let name = rest.popFirst() {
            switch name {
            case "--port":
                guard address == nil else { throw Problem(sentence: "one address only") }
                address = .port(try integer(name, rest.popFirst(), in: 0...65535))
            case "--unix":
                guard address == nil else { throw Problem(sentence: "one address only") }
                address = .unix(try text(name, rest.popFirst()))
            case "--certificate":
                chain = try text(name, rest.popFirst())
            case "--private-key":
                privateKey = try text(name, rest.popFirst())
            case "--key":
                options.key = try text(name, rest.popFirst())
            case "--threads":
                options.threads = try integer(name, rest.popFirst(), in: 1...64)
            case "--chunk-delay-ms":
                options.chunkDelay = try integer(name, rest.popFirst(), in: 0...3_600_000)
            case "--version":
                options.wantsVersion = true
            case "--no-record":
                options.keepsRecords = false
            case "--help", "-h":
                options.wantsHelp = true
            default:
                throw Problem(sentence: "unknown option \(name)")
            }
        }
        if let address { options.address = address }
        if let chain, let privateKey {
            options.certificate = Certificate(chain: chain, privateKey: privateKey)
        } else if chain != nil || privateKey != nil {
            throw Problem(sentence: "--certificate and --private-key go together")
        }
        return options
    }

    private static func text(_ name: String, _ value: String?) throws(Problem) -> String {
        guard let value, !value.isEmpty else { throw Problem(sentence: "\(name) needs a value") }
        return value
    }

    private static func integer(
        _ name: String, _ value: String?, in range: ClosedRange<Int>
    ) throws(Problem) -> Int {
        guard let number = Int(try text(name, value)), range.contains(number) else {
            throw Problem(
                sentence: "\(name) needs a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    static let help = """
        An OpenAI-shaped server for trying Proxy GPT out, its tests, faults and benchmarks. It
        listens on the loopback or a unix socket, and calls no model.

        \(usage)

          --port N      TCP port on 127.0.0.1; 0 picks a free one (default 9090)
          --unix PATH   a unix socket instead
          --key K       refuse calls without this key
          --threads N   event loops (default 1)
          --chunk-delay-ms N   wait between the pieces of a stream whose call does not say
          --no-record   keep counters only, no rows for /mock/calls
          --certificate PATH, --private-key PATH   speak TLS too, on a free port of localhost

        Options of a single call stand in its query string, or in the model's name after a "?",
        as in "mock?chunks=5&chunk-delay-ms=20". Each may be written with "mock-" before it:

          head-delay-ms=N    wait before the answer      cut-after=N        close after N pieces
          chunk-delay-ms=N   wait between pieces         cut-after-bytes=N  close after N body bytes
          chunks=N           pieces of the answer        endless            never stop sending
          bytes=N            filler in the answer        hang               never answer
          status=N           answer with that status     garbage            answer what is no HTTP
          retry-after=V      with that header            garbage-json       a body that is no JSON
          header=Name:Value  one more header             empty-choices      "choices": []
          no-content-length  a chunked answer            quote-key          errors quote the key
          close              Connection: close           marks              words say when they left

        A WebSocket at /v1/responses answers each response.create with the events of a response;
        one at /v1/realtime or /openai/realtime sends every frame back as it came. Both take also:

          close-code=N       close with that code       close-reason=T     and that reason
          close-after=N      after N messages           subprotocol=NAME   choose this one
          ping               begin with a ping          silent             send nothing back
          deaf               read nothing               bad-frame          break the protocol
          wrong-accept       break the handshake

          GET    /mock/calls               the last 10,000 calls
          DELETE /mock/calls               forgets them and resets the counters
          GET    /mock/stats               counters
          GET    /mock/wait?in-flight=N    answers when N calls are open (504 after 15 s)
        """
}
