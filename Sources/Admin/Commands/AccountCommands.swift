internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import ProxyGPT

/// `disable`: the account is shut.
struct Disable: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shuts an account: its sessions and running replies end, and it gets no new ones."
    )

    @Argument(help: "The user's name or id.") var user: String
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ desk: Desk) async throws -> Int32 {
        try await setDisabled(user, true, "disable", desk)
    }
}

/// `enable`: it is open again.
struct Enable: AdminCommand {
    static let configuration = CommandConfiguration(abstract: "Opens an account that was shut.")

    @Argument(help: "The user's name or id.") var user: String
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ desk: Desk) async throws -> Int32 {
        try await setDisabled(user, false, "enable", desk)
    }
}

@EventLoop private func setDisabled(
    _ name: String, _ isDisabled: Bool, _ command: String, _ desk: Desk
) async throws -> Int32 {
    let store = try await desk.open()
    let user = try await desk.account(name).user
    let isChanged = try await store.setDisabled(
        user.id, isDisabled, desk.event(command, user: user.id))
    let state = isDisabled ? "disabled" : "enabled"
    desk.show(
        [
            "user_id": .string(user.id.text), "disabled": .boolean(isDisabled),
            "changed": .boolean(isChanged),
        ], [TerminalText.line("\(user.username) is \(state)\(isChanged ? "" : " already").")])
    return 0
}

/// `delete`: a user with all it owns.
struct Delete: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Removes a user with all it owns.",
        discussion: """
            Its own chats go with their messages, and its groups with theirs unless somebody gets \
            them. Chats that it made in other groups become those of the groups' owners. What it \
            wrote in chats of others stays, and so do its events.
            """)

    @Argument(help: "The user's name or id.") var user: String
    @Option(help: "Who owns the user's groups from now on.") var handGroupsTo: String?
    @Flag(help: "Do not ask.") var yes = false
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ desk: Desk) async throws -> Int32 {
        let store = try await desk.open()
        let user = try await desk.account(user).user
        var heir: User?
        if let handGroupsTo { heir = try await desk.account(handGroupsTo).user }
        guard heir?.id != user.id else {
            throw CommandError("the groups must go to somebody else")
        }
        if !yes {
            let belongings = try await store.belongings(of: user.id)
            try desk.console.confirm(
                "Delete \(user.username) with \(words(belongings, heir, isDone: false))?")
        }
        let belongings = try await store.deleteUser(
            user.id, handingGroupsTo: heir?.id,
            desk.event("delete", user: user.id, heir.map { "groups to \($0.id)" } ?? ""))
        await sweep(store, desk)
        let chats = belongings.chats + (heir == nil ? belongings.chatsOfGroups : 0)
        desk.show(
            [
                "user_id": .string(user.id.text), "chats_deleted": .integer(chats),
                "groups_deleted": .integer(heir == nil ? belongings.groups : 0),
                "groups_handed_on": .integer(heir == nil ? 0 : belongings.groups),
                "sessions_ended": .integer(belongings.sessions),
            ],
            [
                TerminalText.line(
                    "\(user.username) is gone, with \(words(belongings, heir, isDone: true)).")
            ])
        return 0
    }

    private func words(_ belongings: Belongings, _ heir: User?, isDone: Bool) -> String {
        let chats = counted(belongings.chats, "chat")
        guard belongings.groups > 0 else { return chats }
        let groups = counted(belongings.groups, "group")
        if let heir {
            return "\(chats); \(groups) \(isDone ? "went" : "will go") to \(heir.username)"
        }
        return "\(chats) and \(groups) with \(counted(belongings.chatsOfGroups, "chat"))"
    }

    /// All of it is out of sight; what is left after ten seconds the workers remove.
    @EventLoop private func sweep(_ store: any AdminStore, _ desk: Desk) async {
        let end = monotonicMilliseconds() + 10_000
        do {
            while monotonicMilliseconds() < end, try await store.sweepDeletions() {}
        } catch {
            Console.note("Some rows are left for the workers to remove.")
        }
    }
}

/// `sessions`: who is logged in.
struct Sessions: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lists sessions, or ends them.",
        subcommands: [ListSessions.self, RevokeSessions.self], defaultSubcommand: ListSessions.self)

    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ desk: Desk) async throws -> Int32 { 0 }
}

/// `sessions list`.
struct ListSessions: AdminCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Lists the open sessions.",
        discussion: "Reads all of them, page by page, and shows each page as it comes.")

    private static let pageSize = 500

    @Argument(help: "Whose; everybody's when absent.") var user: String?
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ desk: Desk) async throws -> Int32 {
        let store = try await desk.open()
        var owner: User.ID?
        if let user { owner = try await desk.account(user).user.id }
        await desk.note("sessions list", user: owner)
        let list = ListPrinter(
            desk, "sessions", Table("ID", "USERNAME", "CREATED", "LAST USED", "EXPIRES"),
            none: "There are no sessions.")
        var last: Session.ID?
        repeat {
            let page = try await store.openSessions(
                of: owner, after: last, limit: Self.pageSize, now: desk.now)
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

    @EventLoop func run(_ desk: Desk) async throws -> Int32 {
        let store = try await desk.open()
        var ended = 0
        for id in ids {
            if all {
                let user = try await desk.account(id).user.id
                ended += try await store.endSessions(
                    of: user, desk.event("sessions revoke", user: user, "all"))
            } else {
                let event = desk.event("sessions revoke", "session \(id.prefix(64))")
                guard try await store.endSession(Session.ID(id), event) else {
                    throw CommandError("there is no session \(id)")
                }
                ended += 1
            }
        }
        desk.show(["sessions_ended": .integer(ended)], ["\(counted(ended, "session")) ended."])
        return 0
    }
}
