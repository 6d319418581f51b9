/// A whole list, newest element first. Its pages are read as they are needed.
///
/// The next page is read before the oldest element of the last one is handed out, at which the page begins: a
/// loop may delete what it gets.
public struct PagedList<Element: Sendable>: AsyncSequence, Sendable {
    let id: @Sendable (Element) -> String
    /// Reads the page before an element, or the newest one.
    let page: @Sendable (_ before: String?) async throws -> (elements: [Element], hasMore: Bool)

    public func makeAsyncIterator() -> Iterator {
        Iterator(list: self)
    }

    public struct Iterator: AsyncIteratorProtocol {
        let list: PagedList
        /// Elements that were read and not handed out yet, oldest first.
        private var pending: [Element] = []
        private var hasMore = true

        init(list: PagedList) {
            self.list = list
        }

        /// Reads the next element; nil at the end of the list.
        public mutating func next() async throws -> Element? {
            while hasMore, pending.count <= 1 {
                let page = try await list.page(pending.first.map(list.id))
                hasMore = page.hasMore && !page.elements.isEmpty
                pending = page.elements + pending
            }
            return pending.popLast()
        }
    }
}
