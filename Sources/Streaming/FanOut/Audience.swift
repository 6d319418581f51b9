internal import ProxyGPT

/// The subscribers of one chat, and the messages that are running as far as they know.
final class Audience {
    /// Milliseconds for which it is known that an end was delivered out of the store. The log may take
    /// it much later.
    private static let storeDeliveryLifetime: Int64 = 3_600_000

    private struct Running {
        var lastHeard: Int64
        /// Polls, one a second, at which the store had its end.
        var endedSightings = 0
    }

    /// An end that was delivered out of the store.
    private struct StoreDeliveredEnd {
        let time: Int64
        /// The youngest subscriber then; later ones did not receive the end.
        let youngest: Int
    }

    /// What to do about a message whose end is in the store and has reached no subscriber.
    enum EndAction {
        case waits
        /// The end is to be put into the log, which takes it once and gives it an id.
        case isPublished
        /// The log does not take it: it is delivered without an id of its own.
        case isDelivered
    }

    private(set) var subscribers: [Subscriber] = []
    /// How often the chat began anew; histories that were asked for before count no longer.
    private(set) var generation = 0
    private var running: [Message.ID: Running] = [:]
    private var storeDelivered: [Message.ID: StoreDeliveredEnd] = [:]
    /// Messages whose end came live, by time. A history that was read before has them running.
    private var ended: [Message.ID: Int64] = [:]

    func add(_ subscriber: Subscriber) {
        subscriber.index = subscribers.count
        subscribers.append(subscriber)
    }

    /// Takes one out; the last one takes its place.
    func remove(_ subscriber: Subscriber) {
        let index = subscriber.index
        guard index < subscribers.count, subscribers[index] === subscriber,
            let last = subscribers.popLast()
        else { return }
        if last !== subscriber {
            last.index = index
            subscribers[index] = last
        }
    }

    /// Takes note of a live frame; false when its message's end was delivered before.
    func admits(_ frame: Frame, now: Int64) -> Bool {
        if storeDelivered[frame.messageID] != nil { return false }
        switch frame.content {
        case .delta: running[frame.messageID] = Running(lastHeard: now)
        case .last:
            running[frame.messageID] = nil
            ended[frame.messageID] = now
        case .reset: break
        }
        return true
    }

    /// Takes note of messages that a subscriber's history has as running.
    func note(running ids: Set<Message.ID>, now: Int64) {
        for id in ids where running[id] == nil && storeDelivered[id] == nil && ended[id] == nil {
            running[id] = Running(lastHeard: now)
        }
    }

    /// Running messages without a frame since then.
    func silent(since then: Int64) -> [Message.ID] {
        running.isEmpty ? [] : running.filter { $0.value.lastHeard <= then }.map(\.key)
    }

    /// Takes note that the store has the end of a message. At the first poll its last frame may be on its
    /// way.
    func noteEnded(_ id: Message.ID, now: Int64, youngest: Int) -> EndAction {
        guard let endedSightings = running[id]?.endedSightings else { return .waits }
        running[id]?.endedSightings = endedSightings + 1
        switch endedSightings {
        case 1: return .isPublished
        case 5...:
            running[id] = nil
            storeDelivered[id] = StoreDeliveredEnd(time: now, youngest: youngest)
            return .isDelivered
        default: return .waits
        }
    }

    /// Whether the end of a message is to be delivered that ended while the log was away.
    /// - Parameter isNew: it was seen to end, so that it need not be known here.
    func shouldDeliverEnd(of id: Message.ID, isNew: Bool, now: Int64, youngest: Int) -> Bool {
        guard storeDelivered[id] == nil, running.removeValue(forKey: id) != nil || isNew else {
            return false
        }
        storeDelivered[id] = StoreDeliveredEnd(time: now, youngest: youngest)
        return true
    }

    /// Messages among these whose end was delivered out of the store before the subscriber came.
    func missed(by subscriber: Int, of ids: Set<Message.ID>) -> Set<Message.ID> {
        if storeDelivered.isEmpty { return [] }
        return ids.filter { id in storeDelivered[id].map { $0.youngest < subscriber } ?? false }
    }

    /// Forgets ends that are so old that no frame of theirs can come any more.
    func forget(now: Int64) {
        if !storeDelivered.isEmpty {
            storeDelivered = storeDelivered.filter {
                $0.value.time + Self.storeDeliveryLifetime >= now
            }
        }
        if !ended.isEmpty { ended = ended.filter { $0.value + FanOut.lateness >= now } }
    }

    func startOver() {
        generation += 1
        running = [:]
        storeDelivered = [:]
        ended = [:]
    }
}
