import Testing

@testable import ProxyGPT

@Suite struct NearestNameTests {
    static let names = ["API_KEY", "API_URL", "DB_ADDRESS", "MAX_BODY", "MAX_STREAMS", "SIGNUP"]

    @Test(
        "a name within two letters of a known one is recognized",
        arguments: [
            ("DB_ADRESS", "DB_ADDRESS"), ("DBADDRESS", "DB_ADDRESS"), ("db_address", "DB_ADDRESS"),
            ("MAX_STREAM", "MAX_STREAMS"), ("SIGN_UP", "SIGNUP"), ("SINGUP", "SIGNUP"),
            ("API_KEYS", "API_KEY"), ("APIKEY", "API_KEY"), ("MAX_BODY", "MAX_BODY"),
        ])
    func near(unknown: String, meant: String) {
        #expect(nearestName(to: unknown, among: Self.names) == meant)
        #expect(nearestName(to: unknown, among: Self.names, ofLength: 6...64) == meant)
    }

    @Test(
        "no name is guessed for one that is far away, short or long",
        arguments: [
            "", "PATH", "TERMINAL", "DB_ADDRS_X", "MAX_STREAMS_OF",
            String(repeating: "A", count: 65), "a" + String(repeating: "\u{301}\u{323}", count: 9),
        ])
    func far(unknown: String) {
        #expect(nearestName(to: unknown, among: Self.names) == nil)
    }

    @Test("short names are recognized where they may be, but not by a letter that is another's")
    func short() {
        for (unknown, meant) in [
            ("ids", "id"), ("idd", "id"), ("x", nil), ("xy", nil), ("chatId", "chat_id"),
        ] as [(String, String?)] {
            #expect(nearestName(to: unknown, among: ["id", "chat_id"]) == meant)
            let isLong = unknown.utf8.count >= 6
            #expect(
                nearestName(to: unknown, among: ["id", "chat_id"], ofLength: 6...64)
                    == (isLong ? meant : nil))
        }
        #expect(nearestName(to: "APIKY", among: Self.names, ofLength: 6...64) == nil)
    }

    @Test("of two names the nearer one is taken, of equally near ones the first")
    func choice() {
        #expect(nearestName(to: "API_URI", among: Self.names) == "API_URL")
        #expect(nearestName(to: "API_XXX", among: ["API_XXA", "API_XXB"]) == "API_XXA")
        #expect(nearestName(to: "API_XXX", among: ["API_XAA", "API_XXB"]) == "API_XXB")
    }

    @Test("a name of a megabyte costs no comparison")
    func longName() {
        let long = String(repeating: "a\u{301}", count: 500_000)
        #expect(nearestName(to: long, among: Self.names) == nil)
    }
}
