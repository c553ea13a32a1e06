-- All that changes while a worker lives, but for what servers and requests carry with them.

return {
    path = "", -- of lbwatch's socket
    shape = "", -- of the file that nginx has loaded
    version = "-", -- of the set that is in force
    upstreams = {}, -- by name; one that is not here is nginx's own affair
    flights = {}, -- by the address of the request
    flown = 0, -- how many these are
    witnesses = setmetatable({}, { __mode = "v" }), -- by the address of the request, whose ctx alone keeps them
    gates = {}, -- by the name of the upstream: who waits for it
    probes = {}, -- by the name of the upstream: who waits until one of its servers takes connections
    waiting = 0, -- requests, at all gates and probes
    failures = 0, -- to connect or to understand, since the last answer
    is_over = false, -- whether this worker has ceased to follow, since it ends
    mended = 0, -- when connections were counted anew, in seconds
    seed = 1, -- of the numbers drawn
}
