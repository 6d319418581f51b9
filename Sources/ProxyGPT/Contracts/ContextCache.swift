internal import Synchronization

/// Keeps context windows so that a prompt need not read its chat's messages. A window may be out of
/// date: the caller uses it only if its version is the chat's.
package protocol ContextCache: Sendable {
    func window(of chat: Chat.ID) async -> ContextWindow?

    /// Stores a window, unless a newer one is stored.
    func keep(_ window: ContextWindow, of chat: Chat.ID) async

    /// Removes the window of a deleted chat, if the cache is reachable.
    func forget(_ chat: Chat.ID) async
}

/// Windows in this process's memory, up to a number of bytes; the least recently used go first.
package final class MemoryContextCache: ContextCache {
    fileprivate struct Slot {
        var window: ContextWindow
        var size: Int
        var lastUse: UInt64
    }

    fileprivate struct State {
        var slots: [Chat.ID: Slot] = [:]
        var size = 0
        var uses: UInt64 = 0
    }

    private let limit: Int
    private let state = Mutex(State())

    /// - Parameter limit: the most bytes that all windows may take together.
    package init(limit: Int = 32 * 1024 * 1024) {
        self.limit = limit
    }

    package func window(of chat: Chat.ID) async -> ContextWindow? {
        state.withLock { state in
            state.uses += 1
            state.slots[chat]?.lastUse = state.uses
            return state.slots[chat]?.window
        }
    }

    package func keep(_ window: ContextWindow, of chat: Chat.ID) async {
        let size = window.size
        state.withLock { state in
            if let slot = state.slots[chat] {
                // Of two windows of one version the one that reaches further back is kept.
                if slot.window.version > window.version { return }
                if slot.window.version == window.version,
                    slot.window.entries.count > window.entries.count
                {
                    return
                }
                state.size -= slot.size
                state.slots[chat] = nil
            }
            // One chat must not evict all others.
            guard size <= limit / 4 else { return }
            state.uses += 1
            state.slots[chat] = Slot(window: window, size: size, lastUse: state.uses)
            state.size += size
            if state.size > limit { state.shrink(to: limit / 8 * 7) }
        }
    }

    package func forget(_ chat: Chat.ID) async {
        state.withLock { state in
            if let slot = state.slots.removeValue(forKey: chat) { state.size -= slot.size }
        }
    }

    /// Bytes of all windows, roughly.
    package var size: Int { state.withLock(\.size) }
}

extension MemoryContextCache.State {
    fileprivate mutating func shrink(to limit: Int) {
        for (chat, slot) in slots.sorted(by: { $0.value.lastUse < $1.value.lastUse }) {
            guard size > limit else { return }
            slots[chat] = nil
            size -= slot.size
        }
    }
}
