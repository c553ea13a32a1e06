-- What lbwatch's answers look like, and what is refused of them. Pure.

local parts = ...
local balance = parts.balance

local find, match, gmatch, sub = string.find, string.match, string.gmatch, string.sub

-- Of the answers; ours are far smaller, so that what is larger comes from somebody else.
local MAX_UPSTREAMS = 100000
local MAX_HOLD_MS = 3600 * 1000
local MAX_WEIGHT = 65535
local MAX_NUMBER = 1000000000 -- of failures and of seconds
local MAX_WORD = 256 -- bytes of a name, a digest or a version

local METHODS = { round_robin = true, least_conn = true, random = true }

local protocol = {}

local function number(word, lowest, highest)
    local value = word and #word <= 10 and match(word, "^%d+$") and tonumber(word)
    return value and value >= lowest and value <= highest and value or nil
end

local function address(text)
    local host, port = match(text, "^(%d+%.%d+%.%d+%.%d+):(%d+)$")
    if not host then
        host, port = match(text, "^(%[[%x:.]+%]):(%d+)$")
    end
    port = number(port, 1, 65535)
    if port then
        return host, port
    end
end

local function server(token)
    local place, weight, max_fails, fail_timeout, backup, life =
        match(token, "^([^,]+),(%d+),(%d+),(%d+),([01]),([^,]+)$")
    if not life then
        return nil
    end
    local fields = { backup = backup == "1" }
    fields.host, fields.port = address(place)
    fields.weight = number(weight, 1, MAX_WEIGHT)
    fields.max_fails = number(max_fails, 0, MAX_NUMBER)
    fields.fail_timeout = number(fail_timeout, 0, MAX_NUMBER)
    if fields.host and fields.weight and fields.max_fails and fields.fail_timeout then
        return balance.server(fields)
    end
end

-- Servers that are the same to the letter, life included, are the same objects: what is known of them stays.
local function servers(words, before)
    local list, by_token = {}, {}
    for token in gmatch(words, "%S+") do
        local known = not by_token[token] and before and before.by_token[token]
        local one = known or server(token)
        if not one then
            return nil
        end
        list[#list + 1], by_token[token] = one, one
    end
    return list, by_token
end

-- Return name and upstream of a line, or nil. known: upstreams by their names, as they are in force.
function protocol.upstream(line, known)
    local name, digest, rest = match(line, "^([%w_.%-]+) (%S+) (.+)$")
    if not name or #name > MAX_WORD or #digest > MAX_WORD then
        return nil
    end
    local before = known[name]
    if before and before.digest == digest then
        return name, before
    end
    local method, hold_ms, paused, words = match(rest, "^([%l_]+) (%d+) ([01])(.*)$")
    hold_ms = number(hold_ms, 0, MAX_HOLD_MS)
    if not (hold_ms and METHODS[method]) or (words ~= "" and not find(words, "^ %S")) then
        return nil
    end
    local list, by_token = servers(words, before)
    if not list then
        return nil
    end
    return name,
        balance.upstream({
            digest = digest,
            method = method,
            hold_ms = hold_ms,
            paused = paused == "1",
            servers = list,
            by_token = by_token,
        })
end

-- Return what an answer's first line asks for: "keep", or "whole" or "delta" with version and number of lines; or nil.
function protocol.answer(line)
    if line == "keep" then
        return "keep"
    end
    local version, kind, count = match(line, "^set (%S+) (%l+) (%d+)$")
    count = number(count, 0, MAX_UPSTREAMS)
    if count and #version <= MAX_WORD and (kind == "whole" or kind == "delta") then
        return kind, version, count
    end
end

-- A line of at most so many bytes can be a set of 20,000 servers; what is longer is cut in the log.
protocol.MAX_LINE = 1024 * 1024

-- Return text as it may stand in a log.
function protocol.shown(text)
    return (sub(text, 1, MAX_WORD):gsub("[^ -~]", "?"))
end

return protocol
