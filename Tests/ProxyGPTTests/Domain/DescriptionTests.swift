import Formats
import ProxyGPT
import Testing

@Suite struct DescriptionTests {
    @Test("A failure in a log has no Swift syntax")
    func plainWords() {
        let failures: [any Error] = [
            UpstreamFailure.unreachable("no route"), UpstreamFailure.cut("reset by peer"),
            UpstreamFailure.connectTimeout, UpstreamFailure.firstByteTimeout,
            UpstreamFailure.idleTimeout, UpstreamFailure.callTimeout, UpstreamFailure.cancelled,
            Failure.invalid("id", "It is none."), JSONError.malformed(offset: 3), JSONError.tooDeep,
        ]
        for failure in failures {
            let text = "\(failure)"
            #expect(!text.contains("(") && !text.contains("\""), "\(text)")
            #expect(text.contains(" "), "\(text)")
        }
        #expect("\(UpstreamFailure.cut("reset by peer"))" == "broken off: reset by peer")
    }
}
