-- Requests that wait: while their upstream has no server, or is paused.

local parts = ...
local state = parts.state

local semaphore = require("ngx.semaphore")

local ngx = ngx
local max = math.max

local MAX_WAITING = 1000 -- requests in this worker, whatever they wait for; each keeps a client's connection
local LEFT_OVER_S = 1 -- so long after its time a request that still counts is one that nginx ended without a word

local hold = {}

local function is_closed(upstream)
    return upstream and upstream.hold_ms > 0 and (upstream.paused or upstream.tries == 0)
end

local function enter(name, deadline)
    local gate = state.gates[name]
    if not gate then
        gate = { semaphore = semaphore.new(), waiting = {}, count = 0 }
        state.gates[name] = gate
    end
    local visit = { gate = gate, since = ngx.now(), deadline = deadline }
    gate.waiting[visit] = true
    gate.count = gate.count + 1
    state.waiting = state.waiting + 1
    return visit
end

local function leave(visit)
    local gate = visit.gate
    if gate.waiting[visit] then
        gate.waiting[visit] = nil
        gate.count = gate.count - 1
        state.waiting = state.waiting - 1
    end
end

local function refuse()
    ngx.header["Retry-After"] = "1"
    return ngx.exit(503)
end

-- Wait until the upstream is open; return whether it is.
local function wait(name, deadline)
    local visit
    ngx.on_abort(function()
        if visit then
            leave(visit)
        end
        ngx.exit(499)
    end)
    while is_closed(state.upstreams[name]) do
        local left = deadline - ngx.now()
        if left <= 0 or state.waiting >= MAX_WAITING then
            return false
        end
        visit = enter(name, deadline)
        visit.gate.semaphore:wait(left)
        leave(visit)
    end
    return true
end

-- For the rewrite phase: what the variable names is consumed, so that an internal redirect does not wait again unless
-- its location says so, and then only for what is left of the request's time.
function hold.hold()
    local name = ngx.var.lbwatch_hold
    if not name or name == "" or ngx.is_subrequest then
        return
    end
    ngx.var.lbwatch_hold = ""
    local upstream = state.upstreams[name]
    if not is_closed(upstream) then
        return
    end
    local from = ngx.req.is_internal() and ngx.req.start_time() or ngx.now()
    if not wait(name, from + upstream.hold_ms / 1000) then
        return refuse()
    end
end

-- After a change: those whose upstream is open go on.
function hold.wake()
    for name, gate in pairs(state.gates) do
        if not is_closed(state.upstreams[name]) then
            state.gates[name] = nil -- who waits from now on waits for another opening
            if gate.count > 0 then
                gate.semaphore:post(gate.count)
            end
        end
    end
end

-- Return who waits, as the protocol has it: `name=requests:longest_ms`, separated by commas, or `-`.
function hold.waiting()
    local now, words = ngx.now(), {}
    for name, gate in pairs(state.gates) do
        local longest = 0
        for visit in pairs(gate.waiting) do
            if now > visit.deadline + LEFT_OVER_S then
                leave(visit)
            else
                longest = max(longest, now - visit.since)
            end
        end
        if gate.count > 0 then
            words[#words + 1] = string.format("%s=%d:%d", name, gate.count, longest * 1000)
        else
            state.gates[name] = nil
        end
    end
    return #words > 0 and table.concat(words, ",") or "-"
end

return hold
