-- For luacheck, which `make check` runs: the program of nginx's workers, and its tests.
std = "ngx_lua"
max_line_length = 120
