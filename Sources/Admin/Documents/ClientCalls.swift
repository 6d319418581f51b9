// One call of each endpoint in the languages that have a client, as the reference shows it. `gpt` (JavaScript,
// Python) and `c` (Go) are clients of a user who is logged in.

internal import Gateway

struct ClientCalls {
    let javaScript: String
    let python: String
    let go: String

    private init(_ javaScript: String, _ python: String, _ go: String) {
        self.javaScript = javaScript
        self.python = python
        self.go = go
    }

    static func of(_ endpoint: Endpoint) -> ClientCalls {
        endpoint.operation.map(of) ?? stream
    }

    /// Subscribing to a chat: the clients watch all of its messages.
    private static let stream = ClientCalls(
        """
        for await (const frame of gpt.chats.watch(chat.id)) {
          if (frame.kind === "message") console.log(frame.message.reply);
        }
        """,
        """
        for frame in gpt.chats.watch(chat.id):
            if frame.kind == "message":
                print(frame.message.reply)
        """,
        """
        watch, err := c.Chats.Watch(ctx, chat.ID)
        if err != nil {
            return err
        }
        defer watch.Close()
        for watch.Next() {
            fmt.Println(watch.Frame().Message.Reply)
        }
        return watch.Err()
        """)

    private static func of(_ operation: Operation) -> ClientCalls {
        switch operation {
        case .createChat, .readChat, .updateChat, .deleteChat, .prompt, .stopReply, .indexChats,
            .addChatUser, .removeChatUser:
            ofChats(operation)
        case .createGroup, .deleteGroup, .readGroup, .updateGroup, .indexGroups, .indexMembers,
            .addMembers, .removeMembers:
            ofGroups(operation)
        case .signUp, .logIn, .logOut, .readUser, .updateUser, .readSession, .updatePassword:
            ofUsers(operation)
        }
    }

    private static func ofChats(_ operation: Operation) -> ClientCalls {
        switch operation {
        case .createChat:
            ClientCalls(
                #"const chat = await gpt.chats.create({ name: "Trip to Spain" });"#,
                #"chat = gpt.chats.create(name="Trip to Spain")"#,
                #"chat, err := c.Chats.Create(ctx, proxygpt.NewChat{Name: "Trip to Spain"})"#)
        case .readChat:
            ClientCalls(
                "const { messages, has_more } = await gpt.chats.read(chat.id, { limit: 20 });",
                "details = gpt.chats.read(chat.id, limit=20)",
                "details, err := c.Chats.Read(ctx, chat.ID, proxygpt.Page{Limit: 20})")
        case .updateChat:
            ClientCalls(
                #"await gpt.chats.update(chat.id, { name: "Trip to Spain" });"#,
                #"gpt.chats.update(chat.id, name="Trip to Spain")"#,
                """
                name := "Trip to Spain"
                chat, err := c.Chats.Update(ctx, chat.ID, proxygpt.ChatUpdate{Name: &name})
                """)
        case .deleteChat:
            ClientCalls(
                "await gpt.chats.delete(chat.id);", "gpt.chats.delete(chat.id)",
                "err := c.Chats.Delete(ctx, chat.ID)")
        case .prompt: prompt
        case .stopReply:
            ClientCalls(
                "const { message } = await gpt.chats.stop(chat.id, message.id);",
                "answer = gpt.chats.stop(chat.id, message.id)",
                "answer, err := c.Chats.Stop(ctx, chat.ID, message.ID)")
        case .indexChats:
            ClientCalls(
                "for await (const chat of gpt.chats.listAll()) console.log(chat.name);",
                """
                for chat in gpt.chats.list_all():
                    print(chat.name)
                """,
                """
                chats := c.Chats.ListAll(ctx, "")
                for chats.Next() {
                    fmt.Println(chats.Value().Name)
                }
                return chats.Err()
                """)
        case .addChatUser:
            ClientCalls(
                "await gpt.chats.addUser(chat.id, user.id);",
                "gpt.chats.add_user(chat.id, user_id=user.id)",
                "err := c.Chats.AddUser(ctx, chat.ID, user.ID)")
        default:
            ClientCalls(
                "await gpt.chats.removeUser(chat.id, user.id);",
                "gpt.chats.remove_user(chat.id, user_id=user.id)",
                "err := c.Chats.RemoveUser(ctx, chat.ID, user.ID)")
        }
    }

    private static let prompt = ClientCalls(
        """
        const { reply } = await gpt.chats.prompt(chat.id, "Tell me about Spain.");

        // Or word by word:
        for await (const delta of gpt.chats.stream(chat.id, "Tell me about Spain.")) {
          process.stdout.write(delta.text);
        }
        """,
        """
        answer = gpt.chats.prompt(chat.id, "Tell me about Spain.")

        # Or word by word:
        for delta in gpt.chats.stream(chat.id, "Tell me about Spain."):
            print(delta.text, end="")
        """,
        """
        answer, err := c.Chats.Prompt(ctx, chat.ID, "Tell me about Spain.")

        // Or word by word:
        stream, err := c.Chats.Stream(ctx, chat.ID, "Tell me about Spain.")
        if err != nil {
            return err
        }
        defer stream.Close()
        for stream.Next() {
            fmt.Print(stream.Delta().Text)
        }
        return stream.Err()
        """)

    private static func ofGroups(_ operation: Operation) -> ClientCalls {
        switch operation {
        case .createGroup:
            ClientCalls(
                #"const group = await gpt.groups.create({ name: "Travellers" });"#,
                #"group = gpt.groups.create("Travellers")"#,
                #"group, err := c.Groups.Create(ctx, proxygpt.NewGroup{Name: "Travellers"})"#)
        case .deleteGroup:
            ClientCalls(
                "await gpt.groups.delete(group.id);", "gpt.groups.delete(group.id)",
                "err := c.Groups.Delete(ctx, group.ID)")
        case .readGroup:
            ClientCalls(
                "const { members } = await gpt.groups.read(group.id);",
                "details = gpt.groups.read(group.id)",
                "details, err := c.Groups.Read(ctx, group.ID, proxygpt.Page{})")
        case .updateGroup:
            ClientCalls(
                #"await gpt.groups.update(group.id, { name: "Travellers" });"#,
                #"gpt.groups.update(group.id, name="Travellers")"#,
                """
                name := "Travellers"
                group, err := c.Groups.Update(ctx, group.ID, proxygpt.GroupUpdate{Name: &name})
                """)
        case .indexGroups:
            ClientCalls(
                "for await (const group of gpt.groups.listAll()) console.log(group.name);",
                """
                for group in gpt.groups.list_all():
                    print(group.name)
                """,
                """
                groups := c.Groups.ListAll(ctx)
                for groups.Next() {
                    fmt.Println(groups.Value().Name)
                }
                return groups.Err()
                """)
        case .indexMembers:
            ClientCalls(
                "for await (const user of gpt.groups.membersAll(group.id)) "
                    + "console.log(user.username);",
                """
                for user in gpt.groups.members_all(group.id):
                    print(user.username)
                """,
                """
                members := c.Groups.MembersAll(ctx, group.ID)
                for members.Next() {
                    fmt.Println(members.Value().Username)
                }
                return members.Err()
                """)
        case .addMembers:
            ClientCalls(
                "await gpt.groups.addMembers(group.id, [user.id]);",
                "gpt.groups.add_members(group.id, [user.id])",
                "err := c.Groups.AddMembers(ctx, group.ID, user.ID)")
        default:
            ClientCalls(
                "await gpt.groups.removeMembers(group.id, [user.id]);",
                "gpt.groups.remove_members(group.id, [user.id])",
                "err := c.Groups.RemoveMembers(ctx, group.ID, user.ID)")
        }
    }

    private static func ofUsers(_ operation: Operation) -> ClientCalls {
        switch operation {
        case .signUp:
            ClientCalls(
                """
                const gpt = new ProxyGPT("http://localhost:8080");
                await gpt.users.signUp({ username: "asim", password: "correct horse battery" });
                """,
                """
                gpt = Client("http://localhost:8080")
                gpt.users.sign_up("asim", "correct horse battery")
                """,
                """
                c := proxygpt.New("http://localhost:8080")
                login, err := c.Users.SignUp(ctx, proxygpt.NewUser{
                    Username: "asim", Password: "correct horse battery",
                })
                """)
        case .logIn:
            ClientCalls(
                #"await gpt.users.logIn({ username: "asim", password: "correct horse battery" });"#,
                #"gpt.users.log_in("asim", "correct horse battery")"#,
                #"login, err := c.Users.LogIn(ctx, "asim", "correct horse battery")"#)
        case .logOut:
            ClientCalls(
                "await gpt.users.logOut();", "gpt.users.log_out()", "err := c.Users.LogOut(ctx)")
        case .readUser:
            ClientCalls(
                "const other = await gpt.users.read({ id: user.id });",
                "other = gpt.users.read(user.id)", "other, err := c.Users.Read(ctx, user.ID)")
        case .updateUser:
            ClientCalls(
                #"await gpt.users.update({ firstName: "Asim" });"#,
                #"gpt.users.update(first_name="Asim")"#,
                """
                name := "Asim"
                user, err := c.Users.Update(ctx, proxygpt.UserUpdate{FirstName: &name})
                """)
        case .readSession:
            ClientCalls(
                "const { user, session } = await gpt.users.session();",
                "current = gpt.users.session()", "current, err := c.Users.Session(ctx)")
        default:
            ClientCalls(
                """
                await gpt.users.changePassword({
                  oldPassword: "correct horse battery",
                  newPassword: "battery staple correct",
                });
                """,
                #"gpt.users.change_password("correct horse battery", "battery staple correct")"#,
                """
                err := c.Users.ChangePassword(ctx, "correct horse battery", "battery staple correct")
                """)
        }
    }

    // MARK: - The upstream's API

    /// OpenAI's own clients, with the address and the token of ours.
    static let upstream = ClientCalls(
        """
        const openai = new OpenAI(gpt.openai);
        await openai.chat.completions.create({
          model: "gpt-4",
          messages: [{ role: "user", content: "Hello" }],
        });
        """,
        """
        openai = OpenAI(base_url=gpt.openai.base_url, api_key=gpt.openai.api_key)
        openai.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "Hello"}])
        """,
        """
        settings := c.OpenAI()
        client := openai.NewClient(
            option.WithBaseURL(settings.BaseURL), option.WithAPIKey(settings.APIKey))
        """)

    static let upstreamCurl = """
        curl -H "Authorization: Bearer $PROXY_GPT_TOKEN" "$PROXY_GPT_URL\(Endpoints.forwarded)chat/completions" \\
            -H "Content-Type: application/json" \\
            -d '{"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}]}'
        """
}
