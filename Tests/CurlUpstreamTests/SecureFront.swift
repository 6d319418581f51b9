import Glibc
import TestSupport

/// An nginx on loopback with a self-signed certificate, in front of a `ScriptedUpstream`: TLS as real
/// upstreams speak it, HTTP/2 offered.
final class SecureFront: Sendable {
    static let isAvailable =
        access("/usr/sbin/nginx", X_OK) == 0 && access("/usr/bin/openssl", X_OK) == 0

    let certificate: String
    private let directory: String
    let port: UInt16
    private let hasty: UInt16
    private let status: UInt16
    private let process: pid_t
    private let upstream: ScriptedUpstream

    init(before upstream: ScriptedUpstream) throws {
        self.upstream = upstream
        var template = Array("/tmp/secure-front-XXXXXX".utf8CString)
        let directory = mkdtemp(&template).map { String(cString: $0) } ?? "/nonexistent"
        let certificate = directory + "/certificate.pem"
        (self.directory, self.certificate) = (directory, certificate)
        let key = directory + "/key.pem"
        let made = try startProcess([
            "/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        ])
        waitpid(made, nil, 0)
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map {
            "\($0)_temp_path \(directory)/\($0);"
        }
        let common = """
            server_name localhost; ssl_certificate \(certificate); ssl_certificate_key \(key);
            location = /who { return 200 "$server_protocol $connection"; }
            location / {
                add_header X-Connection $connection; proxy_set_header X-Protocol $server_protocol;
                proxy_pass http://127.0.0.1:\(upstream.port); proxy_http_version 1.1;
                proxy_buffering off; proxy_request_buffering off; client_max_body_size 0;
            }
            """
        // A free port may be taken before nginx has it; its pid file tells that it has both.
        while true {
            let (port, hasty, status) = (freePort(), freePort(), freePort())
            Self.write(
                """
                daemon off; master_process off;
                pid \(directory)/pid; error_log \(directory)/error.log;
                events { worker_connections 2000; }
                http {
                    access_log off; keepalive_requests 1000; \(paths.joined(separator: " "))
                    server { listen 127.0.0.1:\(port) ssl http2; \(common) }
                    server {
                        listen 127.0.0.1:\(hasty) ssl; keepalive_timeout 50ms; \(common)
                    }
                    server { listen 127.0.0.1:\(status); stub_status; }
                }
                """, to: directory + "/nginx.conf")
            let process = try startProcess([
                "/usr/sbin/nginx", "-p", directory, "-c", directory + "/nginx.conf", "-e",
                directory + "/error.log",
            ])
            var hasEnded = false
            while access(directory + "/pid", F_OK) != 0 && !hasEnded {
                usleep(2000)
                hasEnded = waitpid(process, nil, WNOHANG) != 0
            }
            if !hasEnded {
                (self.port, self.hasty, self.status) = (port, hasty, status)
                self.process = process
                return
            }
        }
    }

    deinit {
        kill(process, SIGKILL)
        waitpid(process, nil, 0)
        if let removal = try? startProcess(["/bin/rm", "-r", directory]) {
            waitpid(removal, nil, 0)
        }
    }

    /// An address that keeps connections for 1,000 requests.
    func url(_ path: String) -> [UInt8] { Array("https://localhost:\(port)\(path)".utf8) }

    /// An address that closes a connection once it has been idle for 50 ms.
    func hasty(_ path: String) -> [UInt8] { Array("https://localhost:\(hasty)\(path)".utf8) }

    /// An address to which the certificate does not belong.
    func misnamed(_ path: String) -> [UInt8] { Array("https://127.0.0.1:\(port)\(path)".utf8) }

    /// Where nginx says how many connections it has.
    var statusURL: String { "http://127.0.0.1:\(status)/" }

    private static func write(_ text: String, to path: String) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        _ = Glibc.write(descriptor, text, text.utf8.count)
        close(descriptor)
    }
}
