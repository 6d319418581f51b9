import Formats
internal import Glibc
internal import Testing

@testable internal import ProxyGPT

@Suite struct SettingsNamesTests {
    @Test func `an unknown name in the environment file is reported with the likely one`() {
        let text = """
            # DB_ADRESS=1
            SIGNUP=closed
            DB_ADRESS=postgresql://u:canary@h/d
            MAXBODY=1MiB
            COLOUR=red
            API-KEY=1
            nonsense
            """
        #expect(
            Settings.problems(inEnvironmentFile: text) == [
                "`DB_ADRESS` is no setting; DB_ADDRESS is probably meant.",
                "`MAXBODY` is no setting; MAX_BODY is probably meant.",
                "`COLOUR` is no setting.", "`API-KEY` is no setting; API_KEY is probably meant.",
                "The line `nonsense` sets nothing.",
            ])
    }

    @Test func `the environment file may have all settings and variables of libraries`() {
        let names =
            Settings.table.map(\.name)
            + ["TZ", "LC_ALL", "PGSSLROOTCERT", "https_proxy", "NO_PROXY", "MALLOC_ARENA_MAX"]
        let text = names.map { "\($0)=x" }.joined(separator: "\n")
        #expect(Settings.problems(inEnvironmentFile: text) == [])
        #expect(Settings.problems(inEnvironmentFile: "") == [])
    }

    @Test func `variables with nearly a setting's name are reported`() {
        #expect(
            Settings.nearMisses(among: ["PATH", "DB_ADRESS", "SIGNUP", "HOME", "XDG_SEAT", "PORT"])
                == ["`DB_ADRESS` is no setting; DB_ADDRESS is probably meant."])
        setenv("REDIS_ADRESS", "redis://:canary@h", 1)
        defer { unsetenv("REDIS_ADRESS") }
        #expect(!Settings.nearMisses().joined().contains("canary"))
    }

    @Test func `names of any bytes are shown in printable ones`() {
        let problems = Settings.problems(
            inEnvironmentFile: "A\u{1B}[2J\(String(repeating: "\u{301}", count: 5000))=1\n")
        #expect(problems.count == 1 && problems[0].utf8.count < 100)
        #expect(problems[0].utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F })
    }
}

@Suite struct CertificateFileTests {
    /// A DER sequence of 300 bytes of content.
    private static let certificate = """
        -----BEGIN CERTIFICATE-----
        \(base64([0x30, 0x82, 0x01, 0x2C] + [UInt8](repeating: 0x41, count: 300)))
        -----END CERTIFICATE-----

        """

    private static func base64(_ bytes: [UInt8]) -> String {
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var text: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            let bits =
                group.reduce(UInt32(0)) { $0 << 8 | UInt32($1) } << UInt32(8 * (3 - group.count))
            for index in 0..<4 {
                text.append(
                    index <= group.count
                        ? digits[Int(bits >> UInt32(18 - 6 * index) & 63)] : UInt8(ascii: "="))
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    private func problem(_ text: String) -> String? {
        CertificateFile.problem(in: Array(text.utf8)[...])
    }

    @Test func `certificates with text around them are taken`() {
        let one = Self.certificate
        #expect(problem(one) == nil)
        #expect(problem("# Some CA\n" + one + "text\r\n" + one) == nil)
    }

    @Test func `a file without a whole certificate is reported`() {
        #expect(problem("") == "holds no certificate in PEM form")
        #expect(problem("not a certificate") == "holds no certificate in PEM form")
        let one = Self.certificate
        #expect(problem(String(one.dropLast(30))) == "breaks off within a certificate")
        let damaged = one.replacing("MIIB", with: "MIIC")
        #expect(problem(damaged) == "holds a certificate that is damaged")
        #expect(problem(one + one.replacing("QUFB", with: "QU!B")) != nil)
    }

    @Test func `the report names the file and the reason`() throws {
        for file in ["/nonexistent/ca.pem", "/etc"] {
            let settings = try Settings(values: ["API_KEY": "k", "SSL_CERT_FILE": file])
            let problem = try #require(settings.certificateProblem)
            #expect(problem.hasPrefix("SSL_CERT_FILE: \(file) "))
        }
        let settings = try Settings(values: ["API_KEY": "k"])
        #expect(settings.certificateProblem == nil)
        let system = "/etc/ssl/certs/ca-certificates.crt"
        if access(system, R_OK) == 0 { #expect(CertificateFile.problem(system) == nil) }
    }
}
