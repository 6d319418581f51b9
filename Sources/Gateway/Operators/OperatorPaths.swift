// What `OperatorEndpoint` serves, for the document of the API.

package import Formats
internal import ProxyGPT

/// A path for load balancers or operators.
package struct OperatorPath: Sendable {
    package enum Answer: Sendable {
        case json(ObjectSchema)
        /// A text of this media type.
        case text(type: String, example: String)
        /// Text, or JSON where the query asks for it.
        case either(example: String, ObjectSchema)
    }

    package let path: String
    /// What the document calls the operation.
    package let name: String
    /// Flags of the query, with what each of them does.
    package let flags: [(name: String, meaning: String)]
    package let answer: Answer
    /// Whether this host alone may read the path, unless nginx is told otherwise.
    package let isForOperators: Bool
    /// One sentence.
    package let meaning: String

    package static let methods = ["GET", "HEAD"]

    package static let all = [
        OperatorPath(
            path: Endpoints.live, name: "readLive", flags: [], answer: .json(state("Live", "live")),
            isForOperators: false, meaning: "Tells whether a worker answers."),
        OperatorPath(
            path: Endpoints.ready, name: "readReady", flags: [],
            answer: .json(state("Ready", "ready")), isForOperators: false,
            meaning: "Tells whether a worker can serve: it reaches the database and the bus."),
        OperatorPath(
            path: Endpoints.readyStreamer, name: "readStreamerReady", flags: [],
            answer: .json(state("Ready", "ready")), isForOperators: false,
            meaning: "Tells whether the streamer can serve."),
        OperatorPath(
            path: Endpoints.metrics, name: "readMetrics", flags: [],
            answer: .text(
                type: "text/plain; version=0.0.4; charset=utf-8",
                example:
                    "# TYPE proxy_gpt_build_info gauge\nproxy_gpt_build_info{version=\"1\"} 1\n"),
            isForOperators: true, meaning: "Shows metrics in Prometheus' text format."),
        OperatorPath(
            path: Endpoints.status, name: "readStatus",
            flags: [
                ("json", "Answers with JSON."), ("full", "Shows each process as well."),
            ],
            answer: .either(
                example: "pool:                   proxy-gpt\ntotal workers:          2\n", pool),
            isForOperators: true, meaning: "Shows the pool of processes."),
    ]

    private static func state(_ name: String, _ word: String) -> ObjectSchema {
        ObjectSchema(
            name, "All is well.",
            [MemberSchema("status", .constant(.string(word)), "Always \(word).", .string(word))])
    }

    private static let started = MemberSchema(
        "start time", .nullable(.time), "When the first process started.",
        .string(Example.created))
    private static let age = MemberSchema("start since", .integer, "Seconds since then.", 3600)

    private static func count(
        _ name: String, _ meaning: String, _ example: Int = 0
    ) -> MemberSchema {
        MemberSchema(name, .integer, meaning, .integer(example))
    }

    private static let pool = ObjectSchema(
        "PoolStatus", "The pool of processes, with the members of php-fpm's status page.",
        [
            MemberSchema("pool", .constant("proxy-gpt"), "Always proxy-gpt.", "proxy-gpt"),
            MemberSchema("version", .text, "The version of the product.", .string(Product.version)),
            started, age,
            count("accepted requests", "Requests since the processes started.", 120),
            count("failed requests", "Those of them that were answered with 5xx."),
            count("in flight", "Requests that are being answered."),
            count("idle workers", "Workers without a request.", 2),
            count("busy workers", "Workers with a request."),
            count("draining workers", "Workers that stop."),
            count("total workers", "All workers.", 2), count("streamers", "All streamers.", 1),
            MemberSchema(
                "processes", .list(.object(process)), isOptional: true,
                "Each process, where full is asked for.", .array([process.example])),
        ])

    private static let process = ObjectSchema(
        "ProcessStatus", "A process of the pool.",
        [
            count("pid", "The process id.", 4711),
            MemberSchema("kind", .choice(["worker", "streamer"]), "Its program.", "worker"),
            MemberSchema("state", .text, "What it does.", "idle"),
            MemberSchema("start time", .time, "When it started.", .string(Example.created)), age,
            count("requests", "Requests since it started.", 60),
            count("failed requests", "Those of them that were answered with 5xx."),
            count("in flight", "Requests that are being answered."),
            count("memory", "Its memory in bytes.", 12_582_912),
            MemberSchema(
                "last request route", .nullable(.text), "The route of the last request.",
                .string(Endpoints.live)),
            MemberSchema(
                "last request age", .nullable(.integer), "Seconds since it began.", 4),
            MemberSchema(
                "last request duration", .nullable(.integer), "Its microseconds.", 850),
        ])
}
