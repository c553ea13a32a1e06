-- Requests that wait: while their upstream has no server or is paused, or, for one that no server has seen yet, until a
-- server takes connections.

local parts = ...
local state = parts.state

local semaphore = require("ngx.semaphore")

local ngx = ngx
local find, match, sub = string.find, string.match, string.sub
local max = math.max

local MAX_WAITING = 1000 -- requests in this worker, whatever they wait for; each keeps a client's connection
local LEFT_OVER_S = 1 -- so long after its time a request that still counts is one that nginx ended without a word
local PROBED_EACH_S = 0.05 -- servers that refused connections, as long as somebody waits for them
local PROBE_MS = 250 -- of one connection
local AGAIN = " again" -- follows the name where a request could not be brought to any server

local hold = {}

local function is_closed(upstream)
    return upstream and upstream.hold_ms > 0 and (upstream.paused or upstream.tries == 0)
end

-- Waiting --------------------------------------------------------------------------------------------------------

local function enter(gates, name, deadline)
    local gate = gates[name]
    if not gate then
        gate = { semaphore = semaphore.new(), waiting = {}, count = 0, is_probed = false }
        gates[name] = gate
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

-- All who wait go on; who comes from now on waits for another opening.
local function open(gates, name)
    local gate = gates[name]
    gates[name] = nil
    if gate.count > 0 then
        gate.semaphore:post(gate.count)
    end
end

-- Wait at a gate for one opening, or until the deadline. Where the client leaves meanwhile, nginx ends the request.
local function wait_at(gates, name, deadline, entered)
    local left = deadline - ngx.now()
    if left <= 0 or state.waiting >= MAX_WAITING or state.is_over then
        return false
    end
    local visit = enter(gates, name, deadline)
    ngx.ctx.lbwatch_visit = visit
    if entered then
        entered(visit.gate)
    end
    local is_opened = visit.gate.semaphore:wait(left)
    leave(visit)
    return is_opened
end

-- A client that leaves ends the request, and with it what waits; without lua_check_client_abort it waits on.
local function watch_client()
    ngx.on_abort(function()
        local visit = ngx.ctx.lbwatch_visit
        if visit then
            leave(visit)
        end
        ngx.exit(499)
    end)
end

local function refuse()
    ngx.header["Retry-After"] = "1"
    return ngx.exit(503)
end

-- After an internal redirect only what is left of the request's time.
local function deadline_of(upstream)
    local from = ngx.req.is_internal() and ngx.req.start_time() or ngx.now()
    return from + upstream.hold_ms / 1000
end

-- Wait until the upstream is open; return whether it is.
local function wait_for_server(name, deadline)
    while is_closed(state.upstreams[name]) do
        if not wait_at(state.gates, name, deadline) then
            return not is_closed(state.upstreams[name])
        end
    end
    return true
end

-- Trying again ---------------------------------------------------------------------------------------------------

local function takes_connections(upstream)
    for _, servers in ipairs({ upstream.primary, upstream.backup }) do
        for _, server in ipairs(servers) do
            local socket = ngx.socket.tcp()
            socket:settimeouts(PROBE_MS, PROBE_MS, PROBE_MS)
            local host = match(server.host, "^%[(.+)%]$") or server.host
            if socket:connect(host, server.port) then
                socket:close()
                server.fails = 0 -- it was down and is back; by nginx's rule it would get nothing for fail_timeout
                return true
            end
        end
    end
    return false
end

local function probe(premature, name, gate)
    while not premature and gate.count > 0 do
        local upstream = state.upstreams[name]
        if upstream and not is_closed(upstream) and takes_connections(upstream) then
            return open(state.probes, name)
        end
        ngx.sleep(PROBED_EACH_S)
    end
    if state.probes[name] == gate then
        state.probes[name] = nil
    end
end

-- Of a request whose last try failed: the status of that try, or nil if a server may have seen the request.
local function unseen_status()
    local connected, status = ngx.var.upstream_connect_time, ngx.var.upstream_status
    if not connected or find(connected, "%d") then
        return nil
    end
    return tonumber(match(status or "", "(%d+)$"))
end

local function again(name)
    local upstream = state.upstreams[name]
    local status = unseen_status()
    if not (status and upstream and upstream.hold_ms > 0) then
        return ngx.exit(tonumber(match(ngx.var.upstream_status or "", "(%d+)$")) or 502)
    end
    watch_client()
    local is_reached = wait_at(state.probes, name, deadline_of(upstream), function(gate)
        if not gate.is_probed then
            gate.is_probed = true
            ngx.timer.at(0, probe, name, gate)
        end
    end)
    if not is_reached then
        return ngx.exit(status)
    end
end

-- What nginx calls ------------------------------------------------------------------------------------------------

-- For the rewrite phase. What the variable says holds once: an internal redirect to a location that says nothing of its
-- own waits for nothing.
function hold.hold()
    local name = ngx.var.lbwatch_hold
    if not name or name == "" or ngx.is_subrequest then
        return
    end
    ngx.var.lbwatch_hold = ""
    if sub(name, -#AGAIN) == AGAIN then
        return again(sub(name, 1, -#AGAIN - 1))
    end
    local upstream = state.upstreams[name]
    if not is_closed(upstream) then
        return
    end
    watch_client()
    if not wait_for_server(name, deadline_of(upstream)) then
        return refuse()
    end
end

-- After a change: those whose upstream is open go on.
function hold.wake()
    for name in pairs(state.gates) do
        if not is_closed(state.upstreams[name]) then
            open(state.gates, name)
        end
    end
end

-- Return how many wait at a gate, and the longest in seconds.
local function visits(gate, now)
    local longest = 0
    for visit in pairs(gate.waiting) do
        if now > visit.deadline + LEFT_OVER_S then
            leave(visit)
        else
            longest = max(longest, now - visit.since)
        end
    end
    return gate.count, longest
end

-- Return who waits, as the protocol has it: `name=requests:longest_ms`, separated by commas, or `-`.
function hold.waiting()
    if not next(state.gates) and not next(state.probes) then
        return "-"
    end
    local now, counts, longest = ngx.now(), {}, {}
    for _, gates in ipairs({ state.gates, state.probes }) do
        for name, gate in pairs(gates) do
            local count, seconds = visits(gate, now)
            counts[name] = (counts[name] or 0) + count
            longest[name] = max(longest[name] or 0, seconds)
        end
    end
    local words = {}
    for name, count in pairs(counts) do
        if count > 0 then
            words[#words + 1] = string.format("%s=%d:%d", name, count, longest[name] * 1000)
        end
    end
    return #words > 0 and table.concat(words, ",") or "-"
end

return hold
