/// A part of a list. Lists are in the order of their elements' creation.
package struct Page: Sendable, Equatable {
    package enum Place: Sendable, Equatable {
        /// The last elements of the list.
        case newest
        /// The last elements before the one with this id.
        case before(String)
        /// The first elements after the one with this id.
        case after(String)
    }

    package let limit: Int
    package let place: Place

    package init(limit: Int = Page.defaultLimit, place: Place = .newest) {
        self.limit = limit
        self.place = place
    }

    package static let defaultLimit = 100
    package static let greatestLimit = 1000

    /// The id in the place.
    package var anchor: String? {
        switch place {
        case .newest: nil
        case .before(let id), .after(let id): id
        }
    }

    /// Whether elements are read from the front on.
    package var isForward: Bool {
        if case .after = place { true } else { false }
    }

    /// The request's parameter with the anchor.
    package var parameter: String { isForward ? "after" : "before" }
}

/// Part of a list, in order.
package struct Listing<Element: Sendable>: Sendable {
    package let elements: [Element]
    /// Whether there are more elements in the direction of the page.
    package let hasMore: Bool

    package init(elements: [Element], hasMore: Bool) {
        self.elements = elements
        self.hasMore = hasMore
    }

    /// Makes a listing of the elements read for `page`: one more than its limit where there are
    /// more, the newest first unless the page is read forward. `goesOn` says that there are more
    /// although fewer were read.
    package init(read: [Element], for page: Page, goesOn: Bool = false) {
        hasMore = goesOn || read.count > page.limit
        let kept = read.prefix(page.limit)
        elements = page.isForward ? Array(kept) : kept.reversed()
    }
}
