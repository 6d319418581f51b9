import Testing

@testable import MockUpstream

@Suite struct StandardHeadersTests {
    @Test("a date is written as HTTP wants it")
    func date() {
        #expect(httpDate(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT")
    }
}
