import ProxyGPT
import Testing

@Suite struct RedisAddressTests {
    private func problem(_ text: String) -> String? {
        do throws(RedisAddress.Problem) {
            _ = try RedisAddress(text)
            return nil
        } catch {
            return error.text
        }
    }

    @Test(
        "Absent parts have their defaults",
        arguments: [
            ("redis://localhost:6379", "localhost", 6379, 0), ("redis://h", "h", 6379, 0),
            ("REDIS://H.example:1/15", "h.example", 1, 15), ("redis://h/", "h", 6379, 0),
            ("redis://[::1]:7000/2", "::1", 7000, 2), ("redis://[::1]", "::1", 6379, 0),
            ("redis://h/3/", "h", 6379, 3),
        ])
    func readsHosts(text: String, host: String, port: UInt16, database: Int) throws {
        let address = try RedisAddress(text)
        #expect(address.place == .host(host, port: port))
        #expect(address.database == database)
        #expect(address.user == nil && address.password == nil)
    }

    @Test(
        "User and password stand before the last @, with their escapes decoded",
        arguments: [
            ("redis://secret@h", nil, "secret"), ("redis://:secret@h", nil, "secret"),
            ("redis://u:secret@h", "u", "secret"), ("redis://u%3A:a%40b%2Fc%25@h", "u:", "a@b/c%"),
            ("redis://u:a@b@h", "u", "a@b"), ("redis://u:a:b@h", "u", "a:b"),
            ("redis://@h", nil, nil), ("unix://u:secret@/s", "u", "secret"),
        ] as [(String, String?, String?)])
    func readsCredentials(text: String, user: String?, password: String?) throws {
        let address = try RedisAddress(text)
        #expect(address.user == user)
        #expect(address.password == password.map { Secret($0) })
    }

    @Test("A unix socket has a path and, in the query, a database")
    func readsSockets() throws {
        let address = try RedisAddress("unix:///run/redis%20one.sock?db=7")
        #expect(address.place == .socket(path: "/run/redis one.sock"))
        #expect(address.database == 7)
        #expect(try RedisAddress("unix:///s").database == 0)
    }

    @Test(
        "A malformed address is refused without being quoted",
        arguments: [
            "", "canary", "http://canary", "redis://", "redis://canary:canary@", "redis://h:0",
            "redis://h:65536", "redis://h:+1", "redis://h:canary", "redis://::1", "redis://[::1",
            "redis://[::1]canary", "redis://h/canary", "redis://h/-1", "redis://h/1000001",
            "redis://h/99999999999999999999", "redis://h?db=1", "redis://h/1#canary",
            "redis://canary:@h", "redis://u:%zz@h", "redis://u:%2@h", "redis://u:%00@h",
            "redis://u:%FF@h", "redis://u:canary @h", "redis://ü@h", "unix://canary/s",
            "unix://", "unix:///", "unix:///s?canary=1", "unix:///s?db=x",
            "unix:///" + String(repeating: "p", count: 107),
        ])
    func refuses(text: String) throws {
        let problem = try #require(self.problem(text))
        #expect(!problem.contains("canary"))
    }

    @Test("TLS is refused in one sentence that says what to do")
    func refusesTLS() throws {
        let problem = try #require(self.problem("rediss://u:canary@h"))
        #expect(problem.contains("TLS") && problem.contains("redis://"))
        #expect(!problem.contains("canary"))
    }

    @Test("The printed address has no user and no password")
    func hidesSecrets() throws {
        for text in ["redis://user-canary:canary@h:1/2", "unix://canary@/s?db=1"] {
            let address = try RedisAddress(text)
            #expect(!"\(address)".contains("canary"))
        }
        #expect("\(try RedisAddress("redis://u:p@[::1]/2"))" == "redis://[::1]:6379/2")
    }
}
