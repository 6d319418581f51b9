// The programs that Redis runs in one step, in Lua 5.1 (see "Scripting with Lua" in its manual).
//
// The bus has these keys; EPOCH and the ids behind it make the names of most:
//   bus                     hash: epoch, seq (the newest frame's number), run (the start of Redis that
//                           the epoch belongs to), at0 seq0 at1 seq1 (numbers of some time ago),
//                           looked, looks (when somebody looked last, and how often),
//                           store (how far the database had come, see ProcessLease+Age)
//   bus:recent              stream of the groups that were published last, to fill gaps from
//   bus:EPOCH:trial         stream that those who look write to
//   bus:EPOCH:frames:CHAT   stream of the chat's frames, entry SEQ-0, field f
//   bus:EPOCH:running:CHAT  hash: messages without an end, each with its first frame's number, which
//                           is 0 when that frame is gone
//   bus:EPOCH:chat:CHAT     hash: last (the newest frame), trimmed (the newest that may be gone)
//   bus:EPOCH:ended:MESSAGE there while late frames of an ended message may come
// A new epoch thus leaves behind all there was, which expires by itself.

internal import ProxyGPT

/// A script that Redis runs as a whole, with nothing in between.
struct RedisScript: Sendable {
    let name: String
    let text: String

    static let all = [append, state, mark, history, running, recent, keep]

    /// Seconds that a chat's frames stay when no message of it runs, and when one does.
    static let lifetime = 600
    static let runningLifetime = 3600
    /// Seconds for which a chat's former frames are remembered, and a little less for which that is
    /// relied on.
    static let chatMemory = 93_600
    static let memory = 86_400

    /// Begins every script of the bus. KEYS: bus, bus:recent. ARGV: 1 the start of Redis, 2 and 3
    /// the newest id that the caller knows, 4 a name for a new epoch, 5 the prefix, 6 an epoch that
    /// must not go on, `*` for any. A number below a known one, another start of Redis, or content
    /// that no script writes, means that this is another log than before.
    private static let opening = """
        local function number(text)
            if not text or #text > 16 then return nil end
            if text == '0' or string.find(text, '^[1-9]%d*$') then return tonumber(text) end
        end
        local function isFree(key, kind)
            local found = redis.call('TYPE', key).ok
            return found == kind or found == 'none'
        end
        local epoch, seq
        if ARGV[6] ~= '*' and isFree(KEYS[1], 'hash') and isFree(KEYS[2], 'stream') then
            local state = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'run')
            local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
            seq = number(state[2])
            if seq and seq <= \(FrameID.largestSequence - 1_000_000) and state[3] == ARGV[1]
                and state[1] and #state[1] <= 64 and string.find(state[1], '^%w+$')
                and state[1] ~= ARGV[6] and not (state[1] == ARGV[2] and seq < tonumber(ARGV[3]))
                and not (newest and seq < tonumber(string.match(newest[1], '^%d+'))) then
                epoch = state[1]
            end
        end
        if not epoch then
            epoch, seq = ARGV[4], 0
            local now = redis.call('TIME')[1]
            redis.call('UNLINK', KEYS[1], KEYS[2])
            redis.call('HSET', KEYS[1], 'epoch', epoch, 'seq', 0, 'run', ARGV[1],
                'at0', now, 'seq0', 0, 'at1', now, 'seq1', 0)
        end
        local base = ARGV[5] .. 'bus:' .. epoch .. ':'
        local function whole(number) return string.format('%.0f', number) end

        -- What may be gone of a chat of which nothing is known: all up to a number that was the
        -- newest at most so long ago as it is known of every chat what it had.
        local function floor()
            local now = tonumber(redis.call('TIME')[1])
            local marks = redis.call('HMGET', KEYS[1], 'at0', 'seq0', 'at1', 'seq1')
            for i = 1, 3, 2 do
                local at, mark = number(marks[i]), number(marks[i + 1])
                if at and mark and now - at < \(memory) then return mark end
            end
            return seq
        end

        """

    /// Appends a batch and publishes it. ARGV: 7 the channel, 8 how many frames a chat keeps, then
    /// four for each frame: chat, message, kind (b beginning, w words, e end), encoded frame.
    /// Deltas of a message whose beginning is not in this log are skipped, and so are all frames
    /// after a message's end. Returns the epoch, the newest number and how many were carried.
    static let append = RedisScript(
        name: "append",
        text: opening + """
            local limit = tonumber(ARGV[8])
            local first, parts, touched = seq + 1, {}, {}
            for i = 9, #ARGV, 4 do
                local chat, message, kind = ARGV[i], ARGV[i + 1], ARGV[i + 2]
                local stream, running = base .. 'frames:' .. chat, base .. 'running:' .. chat
                if not touched[chat] then
                    touched[chat] = true
                    if not (isFree(stream, 'stream') and isFree(running, 'hash')
                        and isFree(base .. 'chat:' .. chat, 'hash')) then
                        -- Nobody's: the chat begins anew, and its readers start over.
                        redis.call('UNLINK', stream, running, base .. 'chat:' .. chat)
                        redis.call('HSET', base .. 'chat:' .. chat, 'last', whole(seq))
                    end
                    if redis.call('EXISTS', stream) == 0 then
                        redis.call('DEL', running)
                        local last = redis.call('HGET', base .. 'chat:' .. chat, 'last')
                        redis.call('HSET', base .. 'chat:' .. chat,
                            'trimmed', last or whole(floor()))
                    end
                end
                local isRunning = redis.call('HEXISTS', running, message) == 1
                local ended = base .. 'ended:' .. message
                local isCarried
                if kind == 'e' then
                    isCarried = redis.call('EXISTS', ended) == 0
                elseif isRunning then
                    isCarried = true
                else
                    isCarried = kind == 'b' and redis.call('EXISTS', ended) == 0
                end
                if isCarried then
                    -- Counted before it is used: a script that breaks off must not give it twice.
                    seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
                    local id = whole(seq)
                    redis.call('XADD', stream, 'MAXLEN', '~', limit, id .. '-0', 'f', ARGV[i + 3])
                    redis.call('HSET', base .. 'chat:' .. chat, 'last', id)
                    if kind == 'e' then
                        redis.call('HDEL', running, message)
                        redis.call('SET', ended, '', 'EX', \(runningLifetime))
                    elseif not isRunning then
                        redis.call('HSET', running, message, id)
                    end
                    parts[#parts + 1] = ARGV[i + 3]
                end
            end
            for chat in pairs(touched) do
                local stream, running = base .. 'frames:' .. chat, base .. 'running:' .. chat
                if redis.call('XLEN', stream) >= limit then
                    local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1][1]
                    local trimmed = tonumber(string.match(oldest, '^%d+')) - 1
                    local known = redis.call('HGET', base .. 'chat:' .. chat, 'trimmed')
                    if trimmed > (number(known) or -1) then
                        redis.call('HSET', base .. 'chat:' .. chat, 'trimmed', whole(trimmed))
                        local messages = redis.call('HGETALL', running)
                        for i = 1, #messages, 2 do
                            if (number(messages[i + 1]) or 0) <= trimmed then
                                redis.call('HSET', running, messages[i], 0)
                            end
                        end
                    end
                end
                local lifetime = \(lifetime)
                if redis.call('EXISTS', running) == 1 then lifetime = \(runningLifetime) end
                redis.call('EXPIRE', stream, lifetime)
                redis.call('EXPIRE', running, lifetime)
                redis.call('EXPIRE', base .. 'chat:' .. chat, \(chatMemory))
            end
            if #parts > 0 then
                local group = epoch .. '-' .. whole(first) .. '\\n' .. table.concat(parts)
                redis.call('XADD', KEYS[2], 'MAXLEN', '~', 1000, whole(seq) .. '-0', 'g', group)
                redis.call('EXPIRE', KEYS[2], 60)
                redis.call('PUBLISH', ARGV[7], group)
            end
            return {epoch, whole(seq), #parts}
            """)

    /// Returns the position of the log: epoch and newest number. Sets a mark twice a day. Each time
    /// it does everything that carrying frames needs: a Redis that refuses any of that must not
    /// count as there.
    static let state = RedisScript(
        name: "state",
        text: opening + """
            local marks = redis.call('HMGET', KEYS[1], 'at1', 'seq1')
            local now = redis.call('TIME')[1]
            redis.call('HSET', KEYS[1], 'looked', now)
            local trial = base .. 'trial'
            if not isFree(trial, 'stream') then redis.call('UNLINK', trial) end
            redis.call('XADD', trial, 'MAXLEN', 1, '*', 'f', '')
            redis.call('EXPIRE', trial, 60)
            redis.call('HINCRBY', KEYS[1], 'looks', 1)
            redis.call('PUBLISH', ARGV[5] .. 'bus:trial', '')
            if tonumber(now) - (number(marks[1]) or 0) >= \(memory / 2) then
                redis.call('HSET', KEYS[1], 'at0', marks[1] or 0, 'seq0', marks[2] or 0,
                    'at1', now, 'seq1', whole(seq))
            end
            return {epoch, whole(seq)}
            """)

    /// Returns the store's count as the log has it. ARGV: 7 the store's count now, 8 the epoch in
    /// which it is noted; empty to note nothing. Returns epoch, newest number and the former count.
    static let mark = RedisScript(
        name: "mark",
        text: opening + """
            local known, given = number(redis.call('HGET', KEYS[1], 'store')), number(ARGV[7])
            if given and ARGV[8] == epoch and given > (known or -1) then
                redis.call('HSET', KEYS[1], 'store', ARGV[7])
            end
            return {epoch, whole(seq), known and whole(known) or ''}
            """)

    /// Reads a chat's frames. ARGV: 7 the chat, 8 and 9 the id after which, 10 how many. Returns
    /// epoch, newest number and the entries, which are absent where the frames after the id are not
    /// known.
    static let history = RedisScript(
        name: "history",
        text: opening + """
            local after = tonumber(ARGV[9])
            if ARGV[8] ~= epoch or after > seq then return {epoch, whole(seq)} end
            if not (isFree(base .. 'frames:' .. ARGV[7], 'stream')
                and isFree(base .. 'chat:' .. ARGV[7], 'hash')) then
                return {epoch, whole(seq)}
            end
            local chat = redis.call('HMGET', base .. 'chat:' .. ARGV[7], 'last', 'trimmed')
            local last, trimmed = number(chat[1]) or 0, number(chat[2]) or floor()
            local stream = base .. 'frames:' .. ARGV[7]
            if after < trimmed or (after < last and redis.call('EXISTS', stream) == 0) then
                return {epoch, whole(seq)}
            end
            return {epoch, whole(seq),
                redis.call('XRANGE', stream, whole(after + 1) .. '-0', '+', 'COUNT', ARGV[10])}
            """)

    /// Returns the running messages of a chat and the beginning of each. ARGV: 7 the chat.
    static let running = RedisScript(
        name: "running",
        text: opening + """
            local running = base .. 'running:' .. ARGV[7]
            if not isFree(running, 'hash') then return {epoch, whole(seq), {}} end
            return {epoch, whole(seq), redis.call('HGETALL', running)}
            """)

    /// Reads the batches that were published after a number. ARGV: 7 the number, 8 how many.
    static let recent = RedisScript(
        name: "recent",
        text: opening + """
            return {epoch, whole(seq), redis.call('XRANGE', KEYS[2],
                whole(tonumber(ARGV[7]) + 1) .. '-0', '+', 'COUNT', ARGV[8])}
            """)

    /// Keeps a context window unless a better one is there: of a later version, or of the same one
    /// and reaching further back. ARGV: version, number of messages, value, seconds.
    static let keep = RedisScript(
        name: "keep",
        text: """
            local found = redis.pcall('GETRANGE', KEYS[1], 0, 63)
            local version, count
            -- Of another type it is nobody's, and makes room.
            if type(found) == 'string' then
                version, count = string.match(found, '^(%d+) (%d+)\\n')
            end
            if version then
                version, count = tonumber(version), tonumber(count)
                if version > tonumber(ARGV[1]) then return 0 end
                if version == tonumber(ARGV[1]) and count > tonumber(ARGV[2]) then return 0 end
            end
            redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
            return 1
            """)
}
