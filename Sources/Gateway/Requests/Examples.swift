/// The values that examples in documents have.
package enum Example {
    package static let user = "0199f3a1-52c6-7b0e-8d44-6a1f0c9e2b37"
    package static let otherUser = "0199f3a1-9e10-7c55-a1b2-3c4d5e6f7081"
    package static let session = "0199f3a1-52c7-7d21-b6aa-04c8f1d2e359"
    package static let chat = "0199f3a2-7c41-7e0b-9d52-3f6a8c1e4b70"
    package static let message = "0199f3a3-04de-7a3c-8e17-5b2d9f60c4a1"
    package static let group = "0199f3a4-1b92-7f68-b0c3-8d7e6f5a4b32"
    package static let token = "pgpt_" + "3mK9vX0aQe7RzT1uWc5YbN8dHs2LfJ6gPiOw4xVtEyA"
    package static let frame = "5f0c9e2b37a1-42"

    static let created = "2026-03-14T09:26:53.589Z"
    static let updated = "2026-03-14T09:26:58.141Z"
    static let expires = "2026-04-13T09:26:58.141Z"

    /// What a reader puts in the place of an id or token, by the name of a variable.
    package static let variables: [(value: String, name: String)] = [
        (chat, "CHAT"), (group, "GROUP"), (message, "MESSAGE"), (otherUser, "USER_ID"),
        (token, "PROXY_GPT_TOKEN"),
    ]
}
