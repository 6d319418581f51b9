import ProxyGPT
import Testing

@Suite struct HTTPDateTests {
    @Test(arguments: [
        ("Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37.000Z"),
        ("Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00.000Z"),
        ("Tue, 29 Feb 2000 23:59:59 GMT", "2000-02-29T23:59:59.000Z"),
        ("Wed, 01 Mar 2000 00:00:00 GMT", "2000-03-01T00:00:00.000Z"),
        ("Sat, 31 Dec 2033 12:00:00 GMT", "2033-12-31T12:00:00.000Z"),
    ])
    func `a date of a header is a moment`(date: String, moment: String) {
        #expect(Timestamp(httpDate: date)?.description == moment)
    }

    @Test(arguments: [
        "", "0", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 199é08:49:37 GMT", "Sun, -6 Nov 1994 08:49:37 GMT",
    ])
    func `anything else is none`(date: String) {
        #expect(Timestamp(httpDate: date) == nil)
    }
}
