internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import ProxyGPT

/// `chats`: the newest chats, of all users or of one.
struct Chats: AdminCommand {
    static let configuration = CommandConfiguration(abstract: "Lists chats, the newest first.")

    @Option(help: "Only chats that this user owns.") var user: String?
    @Option(help: "Only chats of the group with this id.") var group: String?
    @Option(help: "Only chats older than the one with this id.") var before: String?
    @Option(help: "The most lines, 1 to 10000.") var limit = LimitArgument(100)
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try limit.check()
    }

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        let store = try await context.open()
        var owner: User.ID?
        if let user { owner = try await context.account(user).user.id }
        var last = before.map { Chat.ID($0) }
        if let last, try await store.chat(last) == nil { throw CommandError.noChat(last.text) }
        await context.note("chats", user: owner)
        let list = ListPrinter(
            context, "chats",
            Table("ID", "NAME", "OWNER", "GROUP", "MODEL", ">MESSAGES", "UPDATED"),
            none: "There are no chats.")
        var rest = limit.value
        while rest > 0 {
            let page = try await store.chats(
                of: owner, in: group.map { Group.ID($0) }, before: last, limit: min(500, rest))
            guard let end = page.last else { break }
            for summary in page { list.add(summary.json, Self.row(summary)) }
            rest -= page.count
            last = end.chat.id
            await list.endPage()
        }
        list.end()
        return 0
    }

    private static func row(_ summary: ChatSummary) -> [String] {
        [
            summary.chat.id.text, summary.chat.name, summary.username, summary.groupName ?? "",
            summary.chat.model, String(summary.messages), summary.chat.updatedAt.short,
        ]
    }
}

/// `messages`: the messages of a chat.
struct Messages: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows the newest messages of a chat, the oldest of them first.")

    @Argument(help: "The id of the chat.") var chat: String
    @Option(help: "Only messages before the one with this id.") var before: String?
    @Option(help: "The most lines, 1 to 10000.") var limit = LimitArgument(100)
    @Flag(help: "Show off-the-record messages, too.") var showOffRecord = false
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try limit.check()
    }

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        let store = try await context.open()
        guard let chat = try await store.chat(Chat.ID(chat)) else {
            throw CommandError.noChat(chat)
        }
        var range = try await store.newestMessages(
            of: chat.id, before: before.map { Message.ID($0) }, count: limit.value)
        var event = context.event(
            "messages", user: chat.userID, showOffRecord ? "off the record, too" : "")
        event.chatID = chat.id.text
        // Recorded first: without the event the messages are not shown.
        try await store.record(event)
        let list = ListPrinter(context, "messages", none: "There are no messages.")
        while !range.isEmpty {
            let messages = try await store.messages(of: chat.id, in: range)
            guard let last = messages.last else { break }
            for message in messages {
                list.add(message.json(showsAll: showOffRecord), lines: lines(message))
            }
            range = last.seq + 1..<max(last.seq + 1, range.upperBound)
            await list.endPage()
        }
        list.end()
        return 0
    }

    private func lines(_ message: Message) -> [String] {
        let author = message.username ?? message.userID.text
        let head = "\(message.seq)  \(message.createdAt.short)  \(message.id)  \(author)"
        let state = message.isOffRecord ? "off the record" : "\(message.model), \(message.state)"
        var lines = [TerminalText.line("\(head)  (\(state))")]
        guard showOffRecord || !message.isOffRecord else { return lines + [""] }
        lines += indented(message.prompt, mark: "> ")
        if !message.reply.isEmpty { lines += indented(message.reply, mark: "  ") }
        if let failure = message.failure { lines += indented(failure.message, mark: "! ") }
        return lines + [""]
    }

    private func indented(_ text: String, mark: String) -> [String] {
        TerminalText.block(text).parts(separatedBy: "\n").map { mark + $0 }
    }
}

extension CommandError {
    static func noChat(_ id: String) -> CommandError {
        CommandError("there is no chat \(id)")
    }
}
