import Credentials
import Formats

/// `POST /v1/files` and `GET /v1/files/ID/content`.
enum FileAnswers {
    /// The file object, with digests so that a lost byte shows: `sha256` of the whole body as
    /// received, `file_sha256` of the file in it.
    static func upload(_ call: Call) throws(Refusal) -> Answer {
        guard let form = call.body.form, form.isComplete else {
            throw Refusal(
                status: 400, message: "Could not parse multipart form", code: "invalid_form")
        }
        guard let file = form.parts.first(where: { $0.name == "file" }) else {
            throw Refusal(status: 400, message: "'file' is a required property")
        }
        guard let purpose = form.parts.first(where: { $0.name == "purpose" }) else {
            throw Refusal(status: 400, message: "'purpose' is a required property")
        }
        let digest = file.digest.value.hexadecimal
        return Answer([
            "object": "file", "id": .string("file-\(digest.prefix(22))"),
            "purpose": .string(String(decoding: purpose.beginning, as: UTF8.self)),
            "filename": .string(file.filename ?? "file"), "bytes": .integer(file.byteCount),
            "created_at": .integer(Endpoints.created), "expires_at": .null,
            "status": "processed", "status_details": .null,
            "sha256": call.body.digest.map { .string($0.value.hexadecimal) } ?? .null,
            "body_bytes": .integer(call.body.byteCount), "file_sha256": .string(digest),
        ])
    }

    static func content(_ behaviour: Behaviour) -> Answer {
        let count = behaviour.bytes ?? 1024
        return Answer(
            contentType: "application/octet-stream",
            .pieces(BytePattern(byteCount: count, pieces: behaviour.chunks), byteCount: count))
    }
}

/// `/v1/echo`: tells a test what arrived.
enum EchoAnswer {
    static func answer(to call: Call, _ behaviour: Behaviour) -> Answer {
        var json: JSONValue = [
            "method": .string(call.method), "uri": .string(call.uri),
            "headers": .array(
                call.headers.map { .array([.string($0.name), .string($0.value)]) }),
            "body_base64": call.body.isKeptWhole ? .string(base64(call.body.bytes)) : .null,
            "body_sha256": call.body.digest.map { .string($0.value.hexadecimal) } ?? .null,
            "body_bytes": .integer(call.body.byteCount),
        ]
        json.addFiller(behaviour)
        return Answer(json)
    }
}
