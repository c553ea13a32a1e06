-- The program of a worker: follows lbwatch over its socket, and answers for the upstreams of which it has heard.

local parts = ...
local balance, protocol, hold, state = parts.balance, parts.protocol, parts.hold, parts.state

local peers = require("ngx.balancer")
local base = require("resty.core.base")
local ffi = require("ffi")

local ngx = ngx
local var = ngx.var
local byte, find, sub = string.byte, string.find, string.sub
local cast, address, tonumber = ffi.cast, ffi.typeof("uintptr_t"), tonumber
local get_request = base.get_request
local set_current_peer, set_more_tries = peers.set_current_peer, peers.set_more_tries
local get_last_failure = peers.get_last_failure
local choose, settle, settle_tried = balance.choose, balance.settle, balance.settle_tried
local ngx_time = ngx.time
local flights, witnesses = state.flights, state.witnesses

local BUSY = -3 -- nginx's own word for "no live upstreams": the client gets 502
local DASH = byte("-")
local ENOENT = 2
local NO_SHAPE = "0" -- of a worker that serves nobody new, so that it is taken for none that does

local CONNECT_MS, SEND_MS = 1000, 1000
local ANSWER_MS = 5000 -- lbwatch answers after 2 s at the latest
local PAUSES_S = { 0, 0.05, 0.1, 0.2, 0.5, 1 } -- before each further try to connect; the last one from then on
local CHUNK = 64 * 1024 -- bytes that are read at once
local LINES_AT_ONCE = 20 -- of a large set, before requests get their turn: half a millisecond
local EXCHANGES = 1000 -- of a timer: its memory is given back when it ends, and the next one takes its connection
local KEPT_MS = 10000 -- how long that connection may lie between the two
local MENDED_S = 5 -- so often connections are counted anew
local MAX_FLIGHTS = 20000 -- remembered; more than a worker has connections, as a rule
local COLLECTED_KIB = 200 -- each time: a fraction of a millisecond

local start -- of a timer; at the end of this file

-- Choosing a server ----------------------------------------------------------------------------------------------

local function request_key()
    return tonumber(cast(address, get_request()))
end

-- Park and Miller's generator: a state of our own, since math.random's is everybody's.
local function draw(n)
    state.seed = state.seed * 16807 % 2147483647
    return state.seed % n
end

-- The client got nothing of the server's, so that nginx counts the try as failed; not where the client left.
local function is_failure(status, header_time)
    return header_time == "-" and (status == "502" or status == "504")
end

local function has_last_failed()
    local times = var.upstream_header_time
    if not times or byte(times, -1) ~= DASH then
        return false
    end
    return is_failure(sub(var.upstream_status or "", -3), "-")
end

-- Of a try before an internal redirect: what stands before the last colon.
local function has_earlier_failed()
    local status = string.match(var.upstream_status or "", "(%d+) : [^:]*$")
    local header_time = string.match(var.upstream_header_time or "", "(%S+) : [^:]*$")
    return is_failure(status, header_time)
end

-- A flight is used again by the next request at the same address, since that is most often the next one: nothing of it
-- has to be collected. One that nobody ended (a subrequest, or a log_by_lua of the user's own) is ended by that.
local function new_flight(key, upstream, now)
    local flight = flights[key]
    if not flight then
        flight = balance.flight()
        flights[key] = flight
        state.flown = state.flown + 1
    elseif flight.server then
        settle(flight, has_earlier_failed(), now)
    end
    balance.begin(flight)
    if upstream.is_counted then
        local witness = {}
        witnesses[key], ngx.ctx.lbwatch = witness, witness
    end
    return flight
end

-- nginx has counted its tries by the lines of the block, and at most proxy_next_upstream_tries. The latter cannot be
-- read; but a number below zero that takes away more than there are is complained of where it is set.
local function bound_tries(wanted, loaded)
    if wanted >= loaded then
        set_more_tries(wanted - loaded)
        return
    end
    local _, limited = set_more_tries(-loaded)
    local tries = loaded
    if limited then
        tries = wanted
        while not limited or tries == wanted do
            tries = tries + 1
            _, limited = set_more_tries(-tries)
        end
        tries = tries - 1
    end
    set_more_tries(wanted < tries and wanted - tries or 0)
end

local function go_to(server)
    if not server then
        return ngx.exit(BUSY)
    end
    local ok, problem = set_current_peer(server.host, server.port)
    if not ok then
        ngx.log(ngx.ERR, "lbwatch: ", server.host, ":", server.port, " is no address: ", problem)
    end
end

-- For balancer_by_lua. loaded: how many servers of the block nginx has counted, those that are `down` left out. Of an
-- upstream that is not known here, nginx takes the block's own servers; for none, newer modules would answer 500.
local function balance_request(name, loaded)
    local upstream = state.upstreams[name]
    if not upstream then
        return loaded == 0 and ngx.exit(BUSY) or nil
    end
    local last = get_last_failure()
    if not last and upstream.tries ~= loaded then
        bound_tries(upstream.tries, loaded)
    end
    if upstream.single and not upstream.is_counted then
        return go_to(upstream.primary[1]) -- of which nothing is remembered
    end
    local now, key = ngx_time(), request_key()
    local flight = last and flights[key]
    if flight and flight.server then
        settle_tried(flight, last == "failed", now)
    else
        flight = new_flight(key, upstream, now)
    end
    return go_to(choose(upstream, flight, now, draw))
end

-- For the log phase.
local function done()
    local flight = flights[request_key()]
    if flight and flight.server then
        settle(flight, has_last_failed(), ngx_time())
    end
end

-- Count the connections of an upstream's servers anew.
local function count_again(upstream, counted)
    for _, servers in ipairs({ upstream.primary, upstream.backup }) do
        for _, server in ipairs(servers) do
            server.connections = counted[server] or 0
        end
    end
end

-- Nobody may have ended a flight. Where connections count, its request's ctx has a witness, which is gone once Lua has
-- collected what the request left; a step of the collector, since where there is little to do it comes by too seldom.
local function mend()
    collectgarbage("step", COLLECTED_KIB)
    local counted, is_too_many = {}, state.flown > MAX_FLIGHTS
    for key, flight in pairs(flights) do
        local server = flight.server
        if server and witnesses[key] then
            counted[server] = (counted[server] or 0) + 1
        elseif is_too_many then
            flights[key] = nil
            state.flown = state.flown - 1
        end
    end
    for _, upstream in pairs(state.upstreams) do
        if upstream.is_counted then
            count_again(upstream, counted)
        end
    end
    state.mended = ngx.now()
end

-- Talking with lbwatch -------------------------------------------------------------------------------------------

-- Return the next line, without its end; nil and the reason.
local function read_line(connection)
    local from = connection.from
    while true do
        local stop = find(connection.buffer, "\n", from, true)
        if stop then
            local line = sub(connection.buffer, connection.from, stop - 1)
            connection.from = stop + 1
            return line
        end
        local rest = sub(connection.buffer, connection.from)
        if #rest > protocol.MAX_LINE then
            return nil, "a line is longer than " .. protocol.MAX_LINE .. " bytes"
        end
        local chunk, problem = connection.socket:receiveany(CHUNK)
        if not chunk then
            return nil, problem
        end
        connection.buffer, connection.from, from = rest .. chunk, 1, #rest + 1
    end
end

-- Return the upstreams of a set's lines by their names; nil and the reason.
local function read_set(connection, count)
    local upstreams = {}
    for i = 1, count do
        local line, problem = read_line(connection)
        if not line then
            return nil, problem
        end
        local name, upstream = protocol.upstream(line, state.upstreams)
        if not name or upstreams[name] then
            return nil, "no upstream, or one more of the same name: " .. protocol.shown(line)
        end
        upstreams[name] = upstream
        if i % LINES_AT_ONCE == 0 then
            ngx.sleep(0)
        end
    end
    return upstreams
end

local function put_in_force(kind, version, upstreams)
    if kind == "whole" then
        state.upstreams = upstreams
    else
        for name, upstream in pairs(upstreams) do
            state.upstreams[name] = upstream
        end
    end
    state.version = version
    hold.wake()
end

-- Ask once, and do what the answer says; return true, or nil and the reason.
local function exchange(connection)
    local shape = ngx.worker.exiting() and NO_SHAPE or state.shape
    local id, count = ngx.worker.id(), ngx.worker.count()
    local have = table.concat({ "have 1", shape, id, count, state.version, hold.waiting() }, " ")
    local sent, problem = connection.socket:send(have .. "\n")
    if not sent then
        return nil, problem
    end
    local line, no_line = read_line(connection)
    if not line then
        return nil, no_line
    end
    local kind, version, lines = protocol.answer(line)
    if not kind or (kind == "delta" and state.version == "-") then
        return nil, "not understood: " .. protocol.shown(line)
    end
    if kind ~= "keep" then
        local upstreams, refused = read_set(connection, lines)
        if not upstreams then
            return nil, refused
        end
        put_in_force(kind, version, upstreams)
    end
    return true
end

-- Ask until something fails or the worker ends, yet as long as requests wait in it; return true if another timer may
-- take the connection.
local function converse(connection)
    local asked = 0
    while asked < EXCHANGES or ngx.worker.exiting() do
        asked = asked + 1
        local ok, problem = exchange(connection)
        if ngx.worker.exiting() and (not ok or state.waiting == 0) then
            state.is_over = true
            return false
        end
        if not ok then
            ngx.log(ngx.ERR, "lbwatch: the connection is given up: ", problem)
            return false
        end
        state.failures = 0
        if ngx.now() - state.mended > MENDED_S then
            mend()
        end
    end
    return connection.from > #connection.buffer
end

-- While lbwatch is not there its socket is not either: no connection is tried, since nginx would log each that fails.
local function is_there(path)
    local _, _, number = io.open(path) -- no socket can be opened so; the question is why not
    return number ~= ENOENT
end

local function run(premature)
    if premature or ngx.worker.exiting() then
        return
    end
    local socket = ngx.socket.tcp()
    socket:settimeouts(CONNECT_MS, SEND_MS, ANSWER_MS)
    if is_there(state.path) and socket:connect("unix:" .. state.path, { pool = "lbwatch" }) then
        local connection = { socket = socket, buffer = "", from = 1 }
        if converse(connection) then
            socket:setkeepalive(KEPT_MS, 1)
            return start(0)
        end
        socket:close()
    end
    state.failures = state.failures + 1
    start(PAUSES_S[math.min(state.failures, #PAUSES_S)])
end

start = function(pause)
    if ngx.worker.exiting() then
        return
    end
    local ok, problem = ngx.timer.at(pause, run)
    if not ok then
        ngx.log(ngx.ERR, "lbwatch: no timer, so this worker follows no longer: ", problem)
    end
end

-- Begin to follow. path: of lbwatch's socket; shape: that of the file that nginx has loaded.
return function(path, shape)
    state.path, state.shape = path, shape
    state.seed = (ngx.worker.pid() * 7919 + math.floor(ngx.now() * 1000)) % 2147483646 + 1
    state.mended = ngx.now()
    package.loaded.lbwatch = { balance = balance_request, done = done, hold = hold.hold }
    start(0)
end
