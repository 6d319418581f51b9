internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import ProxyGPT

/// `disable`: closes an account.
struct Disable: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract:
            "Disables an account: sessions and running replies end, and there are no new ones."
    )

    @Argument(help: "The user's name or id.") var user: String
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        try await setDisabled(user, true, "disable", context)
    }
}

/// `enable`: opens a disabled account.
struct Enable: AdminCommand {
    static let configuration = CommandConfiguration(abstract: "Enables a disabled account.")

    @Argument(help: "The user's name or id.") var user: String
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        try await setDisabled(user, false, "enable", context)
    }
}

@EventLoop private func setDisabled(
    _ name: String, _ isDisabled: Bool, _ command: String, _ context: CommandContext
) async throws -> Int32 {
    let store = try await context.open()
    let user = try await context.account(name).user
    let isChanged = try await store.setDisabled(
        user.id, isDisabled, context.event(command, user: user.id))
    let state = isDisabled ? "disabled" : "enabled"
    context.show(
        [
            "user_id": .string(user.id.text), "disabled": .boolean(isDisabled),
            "changed": .boolean(isChanged),
        ], [TerminalText.line("\(user.username) is \(state)\(isChanged ? "" : " already").")])
    return 0
}

/// `delete`: removes a user with all that it owns.
struct Delete: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Removes a user with all that it owns.",
        discussion: """
            Removes the user's chats and groups with their messages; with --hand-groups-to another user \
            gets the groups. The owner of a group gets the chats that the user made in it. The user's \
            messages in chats of others stay, and so do the user's events.
            """)

    @Argument(help: "The user's name or id.") var user: String
    @Option(help: "The new owner of the user's groups.") var handGroupsTo: String?
    @Flag(help: "Do not ask.") var yes = false
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        let store = try await context.open()
        let user = try await context.account(user).user
        var newOwner: User?
        if let handGroupsTo { newOwner = try await context.account(handGroupsTo).user }
        guard newOwner?.id != user.id else {
            throw CommandError("the groups must go to another user")
        }
        if !yes {
            let ownedData = try await store.ownedData(of: user.id)
            try context.console.confirm(
                "Delete \(user.username) with \(description(ownedData, newOwner, isDone: false))?")
        }
        let ownedData = try await store.deleteUser(
            user.id, handingGroupsTo: newOwner?.id,
            context.event("delete", user: user.id, newOwner.map { "groups to \($0.id)" } ?? ""))
        await sweep(store, context)
        let chats = ownedData.chats + (newOwner == nil ? ownedData.chatsOfGroups : 0)
        context.show(
            [
                "user_id": .string(user.id.text), "chats_deleted": .integer(chats),
                "groups_deleted": .integer(newOwner == nil ? ownedData.groups : 0),
                "groups_handed_on": .integer(newOwner == nil ? 0 : ownedData.groups),
                "sessions_ended": .integer(ownedData.sessions),
            ],
            [
                TerminalText.line(
                    "\(user.username) is gone, with \(description(ownedData, newOwner, isDone: true))."
                )
            ])
        return 0
    }

    private func description(_ ownedData: OwnedData, _ newOwner: User?, isDone: Bool) -> String {
        let chats = counted(ownedData.chats, "chat")
        guard ownedData.groups > 0 else { return chats }
        let groups = counted(ownedData.groups, "group")
        if let newOwner {
            return "\(chats); \(groups) \(isDone ? "went" : "will go") to \(newOwner.username)"
        }
        return "\(chats) and \(groups) with \(counted(ownedData.chatsOfGroups, "chat"))"
    }

    /// Removes the rows, which nobody sees any more. Workers remove those that are left after ten seconds.
    @EventLoop private func sweep(_ store: any AdminStore, _ context: CommandContext) async {
        let end = monotonicMilliseconds() + 10_000
        do {
            while monotonicMilliseconds() < end, try await store.sweepDeletions() {}
        } catch {
            Console.note("Some rows are left; the workers remove them.")
        }
    }
}

/// `sessions`: the open sessions.
struct Sessions: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lists sessions, or ends them.",
        subcommands: [ListSessions.self, RevokeSessions.self], defaultSubcommand: ListSessions.self)

    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 { 0 }
}

/// `sessions list`.
struct ListSessions: AdminCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Lists the open sessions.",
        discussion: "Reads all sessions, page by page, and shows each page at once.")

    private static let pageSize = 500

    @Argument(help: "The user's name or id; all users when absent.") var user: String?
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        let store = try await context.open()
        var owner: User.ID?
        if let user { owner = try await context.account(user).user.id }
        await context.note("sessions list", user: owner)
        let list = ListPrinter(
            context, "sessions", Table("ID", "USERNAME", "CREATED", "LAST USED", "EXPIRES"),
            none: "There are no sessions.")
        var last: Session.ID?
        repeat {
            let page = try await store.openSessions(
                of: owner, after: last, limit: Self.pageSize, now: context.now)
            last = page.last?.session.id
            for open in page {
                let session = open.session
                list.add(
                    open.json,
                    [
                        session.id.text, open.username, session.createdAt.short,
                        session.lastUsedAt.short, session.expiresAt.short,
                    ])
            }
            await list.endPage()
        } while last != nil
        list.end()
        return 0
    }
}

/// `sessions revoke`.
struct RevokeSessions: AdminCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "Ends sessions, with their open streams.")

    @Argument(help: "Ids of sessions; with --all, users.") var ids: [String]
    @Flag(help: "End all sessions of the users that are named.") var all = false
    @OptionGroup var output: OutputOptions

    func validate() throws {
        if ids.isEmpty { throw ValidationError("Name a session, or --all and a user.") }
    }

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        let store = try await context.open()
        var ended = 0
        for id in ids {
            if all {
                let user = try await context.account(id).user.id
                ended += try await store.endSessions(
                    of: user, context.event("sessions revoke", user: user, "all"))
            } else {
                let event = context.event("sessions revoke", "session \(id.prefix(64))")
                guard try await store.endSession(Session.ID(id), event) else {
                    throw CommandError("there is no session \(id)")
                }
                ended += 1
            }
        }
        context.show(["sessions_ended": .integer(ended)], ["\(counted(ended, "session")) ended."])
        return 0
    }
}
