// The scenario that every client runs: the same steps and the same lines in all languages.
//
// Environment: PROXY_GPT_URL, SCENARIO_USER, SCENARIO_OTHER. The program prints one JSON object a line,
// and at "cut" and "worker" it waits for a line on standard input, so that the test can stop and start
// processes meanwhile. The server has MAX_REPLIES_PER_USER=1 and a mock of a model's server that takes
// 30 ms for a word.

internal import Foundation
internal import ProxyGPTClient

#if canImport(FoundationNetworking)
    internal import FoundationNetworking
#endif

/// A value of a line.
enum JSON: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral {
    case text(String)
    case number(Int)
    case boolean(Bool)
    case null
    case list([JSON])
    /// The order of members is part of the scenario.
    case object([(String, JSON)])

    init(stringLiteral text: String) { self = .text(text) }
    init(booleanLiteral isTrue: Bool) { self = .boolean(isTrue) }

    var encoded: String {
        switch self {
        case .text(let text):
            let encoder = JSONEncoder()
            encoder.outputFormatting = .withoutEscapingSlashes
            return String(decoding: (try? encoder.encode(text)) ?? Data(), as: UTF8.self)
        case .number(let number): return "\(number)"
        case .boolean(let isTrue): return "\(isTrue)"
        case .null: return "null"
        case .list(let values): return "[" + values.map(\.encoded).joined(separator: ",") + "]"
        case .object(let members):
            let texts = members.map { "\(JSON.text($0.0).encoded):\($0.1.encoded)" }
            return "{" + texts.joined(separator: ",") + "}"
        }
    }
}

struct Problem: Error {
    let description: String
}

func say(_ step: String, _ members: [(String, JSON)] = []) {
    let line = JSON.object([("step", .text(step))] + members).encoded
    FileHandle.standardOutput.write(Data((line + "\n").utf8))
}

func waitForGo() {
    _ = readLine()
}

/// The error of a call that has to fail.
@MainActor
func thrown<Answer: Sendable>(
    by call: @MainActor () async throws -> Answer
) async throws -> ProxyGPTError {
    do {
        _ = try await call()
    } catch let error as ProxyGPTError {
        return error
    }
    throw Problem(description: "a call succeeded that should have failed")
}

func fields(_ error: ProxyGPTError) -> [(String, JSON)] {
    [("status", .number(error.status)), ("code", .text(error.code))]
}

/// Reads a message until its reply has ended.
func endedMessage(_ client: ProxyGPT, _ chat: Chat, _ id: String) async throws -> Message {
    while true {
        for try await message in client.chats.messagesAll(chat.id) where message.id == id {
            if !message.state.isRunning { return message }
        }
        try await Task.sleep(for: .milliseconds(50))
    }
}

/// The error of a call that has to fail while a reply is streamed, and the message of that reply. The loop
/// is left after the first delta, which stops the reply.
@MainActor
func refusal(
    beside stream: ReplyStream, of call: @MainActor () async throws -> Reply
) async throws -> (id: String, error: ProxyGPTError) {
    for try await delta in stream {
        return (delta.message.id, try await thrown(by: call))
    }
    throw Problem(description: "a stream ended before its first delta")
}

/// Whether a watch ends with a typed 401 after something was done.
func watchEnds(
    _ frames: ChatFrames, after action: @Sendable () async throws -> Void
) async throws -> Bool {
    var frames = frames.makeAsyncIterator()
    try await frames.begin()
    try await action()
    do {
        while try await frames.next() != nil {}
    } catch let error as ProxyGPTError {
        return error.status == 401
    }
    return false
}

func setting(_ name: String) throws -> String {
    guard let value = ProcessInfo.processInfo.environment[name] else {
        throw Problem(description: "the environment has no \(name)")
    }
    return value
}

let address = try setting("PROXY_GPT_URL")
let username = try setting("SCENARIO_USER")
let otherUsername = try setting("SCENARIO_OTHER")
let password = "correct horse battery"
// The mock repeats the prompt behind "echo:", one word in 30 ms: 61 words are a reply of two seconds.
let slowModel = "mock?chunks=61"
let sixtyWords = (1...60).map { "word\($0)" }.joined(separator: " ")
let missingChat = "00000000-0000-7000-8000-000000000000"

let client = try ProxyGPT(address)

// 1 to 3: users and sessions
let signedUp = try await client.users.signUp(username: username, password: password)
say(
    "sign-up",
    [
        ("role", signedUp.user.role.map { .text($0) } ?? .null),
        ("has_token", .boolean(!signedUp.token.isEmpty)),
    ])
let wrong = try await thrown {
    try await ProxyGPT(address).users.logIn(username: username, password: "wrong password")
}
say("wrong-password", [("error", .object(fields(wrong)))])
let session = try await client.users.session()
say("session", [("same_user", .boolean(session.user.id == signedUp.user.id))])

// 4 to 6: a chat, a prompt, a stream
let chat = try await client.chats.create(name: "Scenario")
say("chat", [("name", .text(chat.name)), ("model", .text(chat.model))])
let answer = try await client.chats.prompt(chat.id, "Tell me about Spain.")
say("prompt", [("reply", .text(answer.reply)), ("state", .text(answer.message.state.rawValue))])
var text = ""
var last: Message?
for try await delta in client.chats.stream(chat.id, "one two three four five") {
    text += delta.text
    last = delta.message
}
say(
    "stream",
    [
        ("text", .text(text)), ("deltas_joined_equal_reply", .boolean(text == last?.reply)),
        ("state", last.map { .text($0.state.rawValue) } ?? .null),
    ])

// 7: a task that is cancelled after the third delta ends the reply at the model's server
let slow = try await client.chats.create(name: "Slow", model: slowModel)
let reading = Task {
    var deltas = 0
    var id = ""
    do {
        for try await delta in client.chats.stream(slow.id, sixtyWords) {
            id = delta.message.id
            deltas += 1
            if deltas == 3 { withUnsafeCurrentTask { $0?.cancel() } }
        }
    } catch is CancellationError {
        return id
    }
    throw Problem(description: "the stream ended otherwise than by its task")
}
let stopped = try await endedMessage(client, slow, reading.value)
say(
    "abort",
    [
        ("state", .text(stopped.state.rawValue)),
        ("is_shorter", .boolean(stopped.reply.utf8.count < "echo: \(sixtyWords)".utf8.count)),
    ])

// 8: the streamer is killed in mid-reply
text = ""
var deltas = 0
for try await delta in client.chats.stream(slow.id, sixtyWords) {
    text += delta.text
    last = delta.message
    deltas += 1
    if deltas == 3 {
        say("cut", [("at", "third delta")])
        waitForGo()
    }
}
let stored = try await endedMessage(client, slow, last?.id ?? "")
say("resumed", [("text", .text(text)), ("equals_stored", .boolean(text == stored.reply))])
try await client.chats.delete(slow.id)

// 9: a worker is killed between two calls
say("worker", [("at", "before prompt")])
waitForGo()
let afterRestart = try await client.chats.prompt(chat.id, "after the restart")
say("worker-prompt", [("reply", .text(afterRestart.reply))])

// 10: the first chat and 250 more, over several pages
for number in 1...250 { _ = try await client.chats.create(name: "Chat \(number)") }
var ids: [String] = []
for try await listed in client.chats.listAll() { ids.append(listed.id) }
say("paging", [("chats", .number(ids.count)), ("distinct", .number(Set(ids).count))])

// 11 to 14: off the record, and errors
let note = try await client.chats.prompt(chat.id, "between us", otr: true)
say("off-the-record", [("otr", .boolean(note.message.otr)), ("reply", .text(note.reply))])
let missing = try await thrown { try await client.chats.read(missingChat) }
say("not-found", [("error", .object(fields(missing)))])
let conflict = try await thrown {
    try await ProxyGPT(address).users.signUp(username: username, password: password)
}
say(
    "conflict",
    [("error", .object(fields(conflict) + [("param", conflict.param.map { .text($0) } ?? .null)]))])
let busy = try await client.chats.create(name: "Busy", model: slowModel)
let impatient = try ProxyGPT(address, token: client.token, maxRetries: 0)
let (left, limited) = try await refusal(
    beside: client.chats.stream(busy.id, sixtyWords)
) {
    try await impatient.chats.prompt(chat.id, "one too many")
}
let hasTime = JSON.boolean(limited.retryAfter != nil)
say("rate-limit", [("error", .object(fields(limited) + [("has_retry_after", hasTime)]))])
_ = try await endedMessage(client, busy, left)

// 15: a group of two users, and a chat that both read
let other = try ProxyGPT(address)
let otherUser = try await other.users.signUp(username: otherUsername, password: password).user
let group = try await client.groups.create(name: "Scenario")
try await client.groups.addMembers(group.id, [otherUser.id])
var members = 0
for try await _ in client.groups.membersAll(group.id) { members += 1 }
let shared = try await client.chats.create(name: "Shared", model: slowModel, groupID: group.id)
let seen = try await other.chats.read(shared.id).chat
say(
    "group", [("members", .number(members)), ("chat_in_group", .boolean(seen.groupID == group.id))])

// 16: the other user watches the chat while the first one prompts
let watching = Task {
    var kinds: [Frame.Kind] = []
    for try await frame in other.chats.watch(shared.id) {
        if !kinds.contains(frame.kind) { kinds.append(frame.kind) }
        if frame.kind == .message, !frame.partial { break }
    }
    return kinds
}
_ = try await client.chats.prompt(shared.id, sixtyWords)
say("watch", [("kinds", .list(try await watching.value.map { .text($0.rawValue) }))])

// 17: a log-out ends the other user's watch
let second = try ProxyGPT(address, token: other.token)
let isEnded = try await watchEnds(other.chats.watch(shared.id)) { try await second.users.logOut() }
say("logout", [("watch_ended", .boolean(isEnded))])

// 18: what OpenAI's own client needs
let settings = client.openai
guard let models = URL(string: settings.baseURL + "/models") else {
    throw Problem(description: "the address for OpenAI's client is none")
}
var request = URLRequest(url: models)
request.setValue("Bearer \(settings.apiKey)", forHTTPHeaderField: "Authorization")
let (_, response) = try await URLSession.shared.data(for: request)
say("openai", [("models", .boolean((response as? HTTPURLResponse)?.statusCode == 200))])

say("end")
