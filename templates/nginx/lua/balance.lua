-- Which server a request goes to: the rules of nginx's own round robin, least_conn and random, and its rule for servers
-- that fail. Pure: nothing here knows nginx, time and chance come in as arguments.

local floor = math.floor

local balance = {}

-- One server, as nothing is known of it yet. Counts, weights and times (whole seconds) are those that nginx keeps.
function balance.server(fields)
    return {
        host = fields.host,
        port = fields.port,
        weight = fields.weight,
        max_fails = fields.max_fails,
        fail_timeout = fields.fail_timeout,
        backup = fields.backup,
        current_weight = 0,
        effective_weight = fields.weight,
        fails = 0,
        accessed = 0,
        checked = 0,
        connections = 0,
    }
end

-- An upstream of servers, in the order of their lines. `single`: no failure counts against a server that has no other
-- beside it, and nothing is tried twice. `tries`: how often nginx would try at most.
function balance.upstream(fields)
    local primary, backup, ranges, total = {}, {}, {}, 0
    for _, server in ipairs(fields.servers) do
        if server.backup then
            backup[#backup + 1] = server
        else
            primary[#primary + 1] = server
            ranges[#primary] = total
            total = total + server.weight
        end
    end
    return {
        digest = fields.digest,
        method = fields.method,
        is_counted = fields.method == "least_conn", -- whether it matters how many connections a server has
        hold_ms = fields.hold_ms,
        paused = fields.paused,
        by_token = fields.by_token,
        primary = primary,
        backup = backup,
        ranges = ranges,
        total_weight = total,
        tries = #primary + #backup,
        single = #primary == 1 and #backup == 0,
    }
end

-- A server that failed max_fails times is left out until fail_timeout is over.
local function is_out(server, now)
    return server.max_fails > 0 and server.fails >= server.max_fails and now - server.checked <= server.fail_timeout
end

-- After fail_timeout one request may look whether it is back; the next ones wait for what comes of it.
local function is_checked(server, now)
    if now - server.checked > server.fail_timeout then
        server.checked = now
    end
end

-- Smooth weighted round robin. `tried` has the servers that this request was sent to, or is nil.
local function round_robin(servers, tried, now)
    local best, total = nil, 0
    for i = 1, #servers do
        local server = servers[i]
        if not (tried and tried[server]) and not is_out(server, now) then
            local effective = server.effective_weight
            local current = server.current_weight + effective
            server.current_weight = current
            total = total + effective
            if effective < server.weight then
                server.effective_weight = effective + 1
            end
            if not best or current > best.current_weight then
                best = server
            end
        end
    end
    if best then
        best.current_weight = best.current_weight - total
        is_checked(best, now)
    end
    return best
end

-- The first of those with the fewest connections for their weight, and whether others have as few.
local function fewest(servers, tried, now)
    local best, first, many = nil, nil, false
    for i = 1, #servers do
        local server = servers[i]
        if not (tried and tried[server]) and not is_out(server, now) then
            local mine = best and server.connections * best.weight
            local its = best and best.connections * server.weight
            if not best or mine < its then
                best, first, many = server, i, false
            elseif mine == its then
                many = true
            end
        end
    end
    return best, first, many
end

local function least_conn(servers, tried, now)
    local best, first, many = fewest(servers, tried, now)
    if not best then
        return nil
    end
    local total = 0
    for i = first, many and #servers or 0 do -- round robin among those that have as few as the best so far
        local server = servers[i]
        local as_few = server.connections * best.weight == best.connections * server.weight
        if as_few and not (tried and tried[server]) and not is_out(server, now) then
            local effective = server.effective_weight
            server.current_weight = server.current_weight + effective
            total = total + effective
            if effective < server.weight then
                server.effective_weight = effective + 1
            end
            if server.current_weight > best.current_weight then
                best = server
            end
        end
    end
    best.current_weight = best.current_weight - total
    is_checked(best, now)
    return best
end

local DRAWS = 20 -- so often nginx draws before it takes the next one in turn

local function random(upstream, flight, now, draw)
    local servers, ranges, tried = upstream.primary, upstream.ranges, flight.tried
    while flight.draws <= DRAWS and #servers > 0 do
        local x = draw(upstream.total_weight)
        local low, high = 1, #servers
        while low < high do -- the last one whose range begins at or before x
            local middle = floor((low + high + 1) / 2)
            if ranges[middle] <= x then
                low = middle
            else
                high = middle - 1
            end
        end
        local server = servers[low]
        if not (tried and tried[server]) and not is_out(server, now) then
            is_checked(server, now)
            return server
        end
        flight.draws = flight.draws + 1
    end
    return round_robin(servers, tried, now)
end

-- What is remembered of a request: `server` is the one that it is at, `tried` those of the group that it was sent to.
function balance.flight()
    return { upstream = false, server = nil, tried = nil, is_backup = false, draws = 0 }
end

-- The same flight, of another request.
function balance.begin(flight)
    flight.upstream, flight.server, flight.tried, flight.is_backup, flight.draws = false, nil, nil, false, 0
end

local function pick(upstream, flight, now, draw)
    if upstream.method == "least_conn" then
        return least_conn(flight.is_backup and upstream.backup or upstream.primary, flight.tried, now)
    elseif flight.is_backup then
        return round_robin(upstream.backup, flight.tried, now)
    elseif upstream.method == "random" then
        return random(upstream, flight, now, draw)
    end
    return round_robin(upstream.primary, flight.tried, now)
end

-- Return the server that the request goes to next, nil if none is left. now: seconds; draw(n): a number of 0 to n-1.
function balance.choose(upstream, flight, now, draw)
    if flight.upstream ~= upstream then -- other servers since the last try: the first group again
        flight.upstream, flight.is_backup = upstream, false
    end
    local server
    if upstream.single then
        server = upstream.primary[1]
    else
        server = pick(upstream, flight, now, draw)
        if not server and not flight.is_backup and #upstream.backup > 0 then
            flight.is_backup, flight.tried = true, nil
            server = pick(upstream, flight, now, draw)
        end
    end
    flight.server = server
    if server then
        server.connections = server.connections + 1
    end
    return server
end

-- The try is over. has_failed: as nginx's PEER_FAILED; a response of any kind, also one that broke off, is no failure.
function balance.settle(flight, has_failed, now)
    local server = flight.server
    if not server then
        return
    end
    flight.server = nil
    server.connections = server.connections - 1
    if flight.upstream.single then
        return
    end
    if not has_failed then
        if server.accessed < server.checked then
            server.fails = 0
        end
        return
    end
    server.fails = server.fails + 1
    server.accessed, server.checked = now, now
    if server.max_fails > 0 then
        local effective = server.effective_weight - floor(server.weight / server.max_fails)
        server.effective_weight = effective < 0 and 0 or effective
    end
end

-- As `settle`, of a try that another one follows.
function balance.settle_tried(flight, has_failed, now)
    local server = flight.server
    balance.settle(flight, has_failed, now)
    if server then
        flight.tried = flight.tried or {}
        flight.tried[server] = true
    end
end

return balance
