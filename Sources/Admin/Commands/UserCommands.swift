internal import ArgumentParser
internal import EventLoop
internal import Formats
internal import ProxyGPT

/// `list`: all users.
struct List: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lists the users.",
        discussion: """
            Reads all users, page by page, and shows each page at once. At most 1000 sessions of a user \
            are counted.
            """)

    private static let pageSize = 500

    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        let store = try await context.open()
        await context.note("list")
        let list = ListPrinter(
            context, "users",
            Table("ID", "USERNAME", "NAME", "ROLE", "STATE", ">SESSIONS", "LAST USED"),
            none: "There are no users.")
        var last: User.ID?
        repeat {
            let page = try await store.accounts(after: last, limit: Self.pageSize, now: context.now)
            last = page.last?.user.id
            for account in page { list.add(account.json, Self.row(account)) }
            await list.endPage()
        } while last != nil
        list.end()
        return 0
    }

    private static func row(_ account: Account) -> [String] {
        [
            account.user.id.text, account.user.username, account.personalName,
            account.user.role.rawValue, account.disabledAt == nil ? "" : "disabled",
            String(account.openSessions), account.lastUsedAt?.short ?? "",
        ]
    }
}

/// `user`: one user with its chats and groups.
struct ShowUser: AdminCommand {
    static let configuration = CommandConfiguration(
        commandName: "user", abstract: "Shows one user.")

    @Argument(help: "The user's name or id.") var user: String
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        let store = try await context.open()
        let account = try await context.account(user)
        let id = account.user.id
        let ownedData = try await store.ownedData(of: id)
        let groups = try await store.groups(of: id, Page(limit: Page.greatestLimit)).elements
        await context.note("user", user: id)
        context.show(
            json(account, ownedData, groups), lines(account, ownedData, groups))
        return 0
    }

    private func json(
        _ account: Account, _ ownedData: OwnedData, _ groups: [Group]
    ) -> JSONValue {
        guard case .object(var members) = account.json else { return .null }
        members.append((name: "chats", value: .integer(ownedData.chats)))
        members.append(
            (
                name: "groups",
                value: .list(
                    groups.map { group in
                        [
                            "id": .string(group.id.text), "name": .string(group.name),
                            "is_owner": .boolean(group.ownerID == account.user.id),
                        ]
                    })
            ))
        return .object(members)
    }

    private func lines(
        _ account: Account, _ ownedData: OwnedData, _ groups: [Group]
    ) -> [String] {
        let user = account.user
        var sheet = Sheet()
        sheet.add("id", user.id.text)
        sheet.add("username", user.username)
        sheet.add("name", account.personalName)
        sheet.add("role", user.role.rawValue)
        sheet.add("state", account.disabledAt.map { "disabled since \($0.short)" } ?? "enabled")
        sheet.add("created", user.createdAt.short)
        sheet.add("updated", user.updatedAt.short)
        sheet.add("sessions", String(account.openSessions))
        sheet.add("last used", account.lastUsedAt?.short)
        sheet.add("own chats", String(ownedData.chats))
        for group in groups {
            let role = group.ownerID == user.id ? "owner" : "member"
            sheet.add("group", "\(group.id) \(group.name) (\(role))")
        }
        return sheet.lines
    }
}

/// `create`: adds a user without sign-up.
struct Create: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Adds a user, also where sign-up is closed.")

    @Argument(help: "The name of the new user.") var name: String
    @Argument(help: "The password; read from standard input when absent or -.")
    var password: String?
    @Option(help: "user or admin.") var role: User.Role = .user
    @Flag(help: "Make an administrator, as --role admin does.") var admin = false
    @Option(help: "The first name.") var firstName = ""
    @Option(help: "The last name.") var lastName = ""
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        let username = try Username(name)
        try User.checkPersonalName(firstName, parameter: "first_name")
        try User.checkPersonalName(lastName, parameter: "last_name")
        let store = try await context.open()
        let hash = try await context.hash(try context.console.password(password))
        let now = context.now
        let role = admin ? .admin : role
        let user = User(
            id: User.ID(context.identifiers.next()), username: username.text, firstName: firstName,
            lastName: lastName, role: role, createdAt: now, updatedAt: now)
        try await store.create(
            NewUser(user: user, foldedName: username.folded, passwordHash: hash),
            context.event("create", user: user.id, "role \(role.rawValue)"))
        let account = Account(user: user, disabledAt: nil, openSessions: 0, lastUsedAt: nil)
        context.show(["user": account.json], ["Added \(user.username), \(user.id)."])
        return 0
    }
}

extension User.Role: ExpressibleByArgument {}

/// `reset`: gives a user a new password.
struct Reset: AdminCommand {
    static let configuration = CommandConfiguration(
        abstract: "Gives a user a new password and ends all its sessions.",
        discussion: """
            All users of this machine can see a password among the arguments while the command runs, but \
            not one from standard input.
            """)

    @Argument(help: "The user's name or id.") var user: String
    @Argument(help: "The password; read from standard input when absent or -.")
    var password: String?
    @OptionGroup var output: OutputOptions

    @EventLoop func run(_ context: CommandContext) async throws -> Int32 {
        let store = try await context.open()
        let user = try await context.account(user).user
        let hash = try await context.hash(try context.console.password(password))
        let ended = try await store.resetPassword(
            of: user.id, to: hash, context.event("reset", user: user.id))
        context.show(
            ["user_id": .string(user.id.text), "sessions_ended": .integer(ended)],
            [
                TerminalText.line(
                    "\(user.username) has a new password; \(counted(ended, "session")) ended.")
            ])
        return 0
    }
}

/// "1 session", "2 sessions".
func counted(_ count: some BinaryInteger, _ noun: String) -> String {
    "\(count) \(noun)\(count == 1 ? "" : "s")"
}
