import Formats

/// `POST /v1/embeddings`: vectors that depend on the input's text alone.
enum EmbeddingAnswers {
    static func answer(to call: Call, _ behaviour: inout Behaviour) throws(Refusal) -> Answer {
        let request = try ModelRequest(call, &behaviour)
        let inputs = try inputs(request.json["input"])
        let dimensions = try dimensions(request.json["dimensions"])
        let isBase64 = request.json["encoding_format"] == "base64"
        var tokens = 0
        var data: [JSONValue] = []
        for (index, input) in inputs.enumerated() {
            tokens += tokenCount(input)
            let vector = vector(for: input, dimensions: dimensions)
            let embedding: JSONValue =
                isBase64
                ? .string(base64(vector.flatMap(littleEndian)))
                : .array(vector.map { .number("\(Double($0))") })
            data.append(
                ["object": "embedding", "index": .integer(index), "embedding": embedding])
        }
        var json: JSONValue = [
            "object": "list", "data": .array(data), "model": .string(request.model),
            "usage": ["prompt_tokens": .integer(tokens), "total_tokens": .integer(tokens)],
        ]
        json.addFiller(behaviour)
        return Answer(json)
    }

    /// One text, several, or token lists, which count as texts of their numbers.
    private static func inputs(_ json: JSONValue?) throws(Refusal) -> [String] {
        switch json {
        case .string(let text)?:
            return [text]
        case .array(let elements)? where !elements.isEmpty:
            if elements[0].integerValue != nil {
                return [String(decoding: JSONValue.array(elements).encoded, as: UTF8.self)]
            }
            return elements.map {
                $0.stringValue ?? String(decoding: $0.encoded, as: UTF8.self)
            }
        case .array?:
            throw Refusal(
                status: 400, message: "Invalid 'input': empty array.", parameter: "input",
                code: "empty_array")
        default:
            throw Refusal(
                status: 400, message: "Missing required parameter: 'input'.", parameter: "input",
                code: "missing_required_parameter")
        }
    }

    private static func dimensions(_ json: JSONValue?) throws(Refusal) -> Int {
        guard let json, json != .null else { return 1536 }
        guard let count = json.integerValue, (1...3072).contains(count) else {
            throw Refusal(
                status: 400, message: "Invalid 'dimensions': from 1 to 3072.",
                parameter: "dimensions", code: "invalid_value")
        }
        return Int(count)
    }

    private static func vector(for text: String, dimensions: Int) -> [Float] {
        var state: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in text.utf8 { state = (state ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return (0..<dimensions).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Float(Int(state >> 40) - 1 << 23) / Float(1 << 23)
        }
    }

    private static func littleEndian(_ value: Float) -> [UInt8] {
        let bits = value.bitPattern
        return (0..<4).map { UInt8(truncatingIfNeeded: bits >> (8 * UInt32($0))) }
    }
}

/// Counts tokens the way this server bills them: four bytes each.
func tokenCount(_ text: String) -> Int {
    (text.utf8.count + 3) / 4
}
