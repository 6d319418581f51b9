import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// The running program: listens, prints its address, and stops on a signal.
enum Server {
    /// Serves until SIGTERM or SIGINT comes.
    static func run(_ options: Options) throws {
        let signals = blockSignals()
        raiseDescriptorLimit()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: options.threads)
        let ledger = Ledger(capacity: options.keepsRecords ? 10_000 : 0)
        let services = CallHandler.Services(
            endpoints: Endpoints(key: options.key, chunkDelay: options.chunkDelay),
            control: ControlAnswers(ledger: ledger),
            ledger: ledger, standardHeaders: StandardHeaders())
        let listener = try listen(at: options.address, services, on: group)

        var address: String
        switch options.address {
        case .unix(let path): address = "unix:\(path)"
        case .port: address = "http://127.0.0.1:\(listener.localAddress?.port ?? 0)"
        }
        if let certificate = options.certificate {
            let secure = try listen(
                at: .port(0), services, on: group, tls: try context(certificate))
            address += " and https://localhost:\(secure.localAddress?.port ?? 0)"
        }
        print("listening on \(address)")
        fflush(nil)

        var wanted = signals
        var signal: Int32 = 0
        sigwait(&wanted, &signal)
        if case .unix(let path) = options.address { unlink(path) }
        exit(0)
    }

    private static func context(_ certificate: Options.Certificate) throws -> NIOSSLContext {
        let chain = try NIOSSLCertificate.fromPEMFile(certificate.chain)
        let key = try NIOSSLPrivateKey(file: certificate.privateKey, format: .pem)
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        configuration.applicationProtocols = ["http/1.1"]
        return try NIOSSLContext(configuration: configuration)
    }

    private static func listen(
        at address: Options.Address, _ services: CallHandler.Services,
        on group: MultiThreadedEventLoopGroup, tls: NIOSSLContext? = nil
    ) throws -> any Channel {
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 4096)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let tls { try pipeline.addHandler(NIOSSLServerHandler(context: tls)) }
                    let decoder = HTTPRequestDecoder(leftOverBytesStrategy: .forwardBytes)
                    try pipeline.addHandler(ByteToMessageHandler(decoder))
                    try pipeline.addHandler(CallHandler(services))
                }
            }
        switch address {
        case .port(let port):
            return
                try bootstrap
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                .bind(host: "127.0.0.1", port: port).wait()
        case .unix(let path):
            return
                try bootstrap
                .bind(unixDomainSocketPath: path, cleanupExistingSocketFile: true).wait()
        }
    }

    /// Keeps the signals for `sigwait`; threads made later inherit the mask.
    private static func blockSignals() -> sigset_t {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGTERM)
        sigaddset(&signals, SIGINT)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        return signals
    }

    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
