internal import ProxyGPT
internal import Testing

@testable internal import SQLStorage

@Suite struct PostgresAddressTests {
    private func hasAt(_ text: Substring.UTF8View) -> Bool { text.contains(UInt8(ascii: "@")) }

    @Test func `the part of a password that libpq quotes is hidden, whatever its characters`() {
        #expect(
            PostgresHandle.hidingQuoted(
                #"could not translate host name "can"ary@h" to address: unknown"#, where: hasAt)
                == #"could not translate host name "…" to address: unknown"#)
        let plain = #"connection to server at "h" (::1), port 1 failed: no user "u""#
        #expect(PostgresHandle.hidingQuoted(plain, where: hasAt) == plain)
        #expect(PostgresHandle.hidingQuoted("one \" alone @", where: hasAt) == "one \" alone @")
    }

    @Test(arguments: [
        "postgresql://u:p@h/d?canary", "postgresql://u:can%ary@h/d",
        "postgresql://u:p@h/d?can\"ary=1", "postgresql://[canary/d",
    ])
    func `what is no address is told without a word of it`(_ address: String) throws {
        let problem = try #require(PostgresHandle.problem(with: Secret(address)))
        #expect(!problem.contains("ary") && !problem.isEmpty, "\(problem)")
    }
}
