import ProxyGPT
import Testing

@Suite struct PageTests {
    @Test func `elements that were read backward are in order, without the one beyond the limit`() {
        let newest = Listing(read: [5, 4, 3], for: Page(limit: 2))
        #expect(newest.elements == [4, 5] && newest.hasMore)
        let all = Listing(read: [5, 4], for: Page(limit: 2, place: .before("x")))
        #expect(all.elements == [4, 5] && !all.hasMore)
    }

    @Test func `elements that were read forward keep their order`() {
        let page = Listing(read: [3, 4, 5], for: Page(limit: 2, place: .after("x")))
        #expect(page.elements == [3, 4] && page.hasMore)
    }

    @Test func `a list that goes on says so although fewer were read`() {
        let page = Listing(read: [5, 4], for: Page(limit: 9), goesOn: true)
        #expect(page.elements == [4, 5] && page.hasMore)
    }
}

@Suite struct FrameIDTests {
    @Test(arguments: [0, 42, FrameID.largestSequence])
    func `an id survives being text`(sequence: Int64) {
        let id = FrameID(epoch: "0ab9", sequence: sequence)
        #expect(FrameID(id.description) == id)
    }

    @Test func `other texts are no ids`() {
        for text in [
            "", "-", "a-", "-1", "a-1-2", "a--1", "a-+1", "a-1 ", "ä-1", "a-99999999999999999999",
            String(repeating: "a", count: 65) + "-1", "a_b-1", "a-9007199254740993",
            "a-9223372036854775807",
        ] {
            #expect(FrameID(text) == nil, "\(text)")
        }
    }
}
