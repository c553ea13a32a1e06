"""
Whole configurations of nginx, in the shapes in which people publish theirs; `@` stands for the main file's folder.

Each includes the output by its own way. They are written for these tests, after the look of the kinds that they are named
for: what matters is how files are split, linked and included, and which signs stand in quotes.
"""

from versions import LUA_MODULES

_PLACES = b"pid @/nginx.pid;\nerror_log @/error.log warn;\n"
_TEMP = b"".join(
    b"%b_temp_path @/temp/%b;\n" % (kind, kind) for kind in (b"client_body", b"proxy", b"fastcgi", b"uwsgi", b"scgi")
)

BOILERPLATE = {
    b"nginx.conf": _PLACES
    + b"""
# One file for each matter; the order of sites is that of their names.
worker_processes auto;

events {
  worker_connections 4000;   # {each} of them
}

http {
  include    mime.types;
  default_type  application/octet-stream;
  include kit/security/server_tokens.conf;
  include kit/web/*.conf;

  log_format main '$remote_addr - $remote_user [$time_local] "$request" '
                  '$status $body_bytes_sent "$http_referer" '
                  '"$http_user_agent" "#$connection"';
  access_log @/access.log main;

"""
    + _TEMP
    + b"""
  # Load even when there is none yet.
  include conf.d/*.conf;
  include sites.d/[!.#]*.conf;
}
""",
    b"mime.types": b"types {\n  text/html   html htm;\n  image/svg+xml  svg svgz; # {\n  font/woff2 woff2;\n}\n",
    b"kit/security/server_tokens.conf": b"server_tokens off;",
    b"kit/security/policy.conf": b"""
map $sent_http_content_type $policy {
  ~*text/(html|javascript)|application/pdf|xml "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; upgrade-insecure-requests";
}
map $http_accept $image { default ''; "~*image/(?:x-)?webp;?" '.webp#'; }
""",
    b"kit/web/compress.conf": b"gzip on;\ngzip_types\n  application/json # why not\n  image/svg+xml\n  text/css;\n",
    b"kit/web/policies.conf": b"include kit/security/policy.conf;\nadd_header Content-Security-Policy $policy always;\n",
    b"kit/place/dots.conf": b"location ~* /\\.(?!well-known\\/) {\n  deny all;\n}\nlocation ~* (?:#.*#|\\.(?:bak|conf|sw[op])|~)$ { deny all; }\n",
    b"sites.d/.template.conf": b"this is not read {",
    b"sites.d/no-default.conf": b"server {\n  listen 18099 default_server;\n  server_name _;\n  return 444;\n}\n",
    b"sites.d/example.conf": b"server {\n  listen 18099;\n  server_name '~^(?<sub>[^.]{1,63})\\.example\\.test$';\n  root @;\n  include kit/place/dots.conf;\n  location /api/ { proxy_pass http://web/; }\n}\n",
}

PANEL = {
    b"nginx.conf": b"""# made by a panel
daemon off;
user root;
"""
    + _PLACES
    + b"""
pcre_jit on;
include @/modules/*.conf;
events { include @/data/custom/events[.]conf; }

http {
	include                       @/types;
	sendfile                      on;
	server_names_hash_bucket_size 1024;
	large_client_header_buffers   32 32k;
"""
    + _TEMP
    + b"""
	log_format proxy '[$time_local] $upstream_cache_status $upstream_status $status - $request_method $scheme $host "$request_uri" [Client $remote_addr] [Length $body_bytes_sent] [Gzip $gzip_ratio] [Sent-to $server] "$http_user_agent" "$http_referer"';
	access_log @/logs/fallback.log proxy;
	include @/conf.d/include/resolvers.conf;
	map $host $forward_scheme { default http; }
	set_real_ip_from 10.0.0.0/8;
	include @/data/custom/http_top[.]conf;
	include @/conf.d/*.conf;
	include @/data/default_host/*.conf;
	include @/data/proxy_host/*.conf;
	include @/data/custom/http[.]conf;
}
include @/data/custom/root[.]conf;
""",
    b"types": b"types { text/html html; }\n",
    b"logs/.keep": b"",
    b"conf.d/include/resolvers.conf": b"resolver 127.0.0.11 valid=10s ;",
    b"conf.d/include/block.inc": b"""## Block SQL
set $block 0;
if ($query_string ~ "union.*select.*\\(") { set $block 1; }
if ($query_string ~ "[a-zA-Z0-9_]=(\\.\\.//?)+") { set $block 1; }
if ($query_string ~ "(<|%3C).*script.*(>|%3E)") { set $block '1'; }
if ($block = 1) { return 403; }
""",
    b"data/default_host/site.conf": b"server { listen 18099 default; server_name _; location / { return 301 'https://$host$request_uri'; } }\n",
    b"data/proxy_host/1.conf": b"""# ------------------------------------------------------------
# a.example.test, b.example.test
# ------------------------------------------------------------


map $scheme $hsts_1 {
    https   "max-age=63072000; preload";
}

server {
  set $forward_scheme http;
  set $server         "web";
  set $port           80;

  listen 18099;
  server_name a.example.test b.example.test;

  include @/conf.d/include/block.inc;
  add_header Strict-Transport-Security $hsts_1 always;
  proxy_set_header Connection "upgrade";
  access_log @/logs/1_access.log proxy;
  error_log @/logs/1_error.log warn;

  location / {
    proxy_pass       $forward_scheme://$server:$port$request_uri;
  }

  # Custom
  include @/data/custom/server_proxy[.]conf;
}
""",
}

CMS = {
    b"nginx.conf": _PLACES
    + b"events {}\nhttp {\n"
    + _TEMP
    + b"""
    access_log off;
    include ../shared/fastcgi_params;
    ## The limits come from outside.
    limit_conn_zone $binary_remote_addr zone=arbeit:1m;
    geo $not_local { default 1; 127.0.0.1 0; include banned.list; }
    include map_*.conf;
    include upstreams/*;
    include sites-enabled/*;
}
""",
    b"../shared/fastcgi_params": b"fastcgi_param QUERY_STRING $query_string;\nfastcgi_param HTTPS $https if_not_empty;\n",
    b"banned.list": b"192.0.2.0/24 2;\n198.51.100.7 '#3';\n",
    b"map_cache.conf": b"""### No cache for those who are logged in.
map $http_cookie $no_cache {
    default 0;
    ~SESS 1; # PHP session cookie
    "~*^\\{.*\\}$" 1;
}
map $uri $no_slash_uri { ~^/(?<no_slash>.*)$ $no_slash; }
""",
    b"sites-available/cms.conf": b"""server {
    listen 18099;
    server_name cms.example.test;
    root @;
    location / {
        location ~* /system/files/ { include apps/fastcgi_private.conf; fastcgi_pass web; log_not_found off; }
        location ^~ /sites/default/files/ {
            location ~* ^.+\\.(?:css|js|jpe?g|ico|"svg")$ { expires 30d; tcp_nodelay off; open_file_cache max=3000 inactive=120s; }
        }
        location ~* ^(?:.+\\.(?:htaccess|make|txt|engine|inc|info|install|module|profile|po|sh|.*sql|theme|tpl(?:\\.php)?|xtmpl)|code-style\\.pl|/Entries.*|/Repository|/Root|/Tag|/Template)$ { return 404; }
        try_files $uri @cms;
    }
    location @cms { include apps/fastcgi_private.conf; fastcgi_param SCRIPT_NAME /index.php; fastcgi_pass web; }
    location = /cron.php { if ($not_local) { return 404 '/$no_slash_uri'; } }
    error_page 404 = @cms;
}
""".replace(b"@cms", b"\x00cms"),
    b"apps/fastcgi_private.conf": b"fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;\nfastcgi_buffers 256 4k;\nfastcgi_hide_header 'X-Drupal-Cache';\n",
}
CMS[b"sites-available/cms.conf"] = (
    CMS[b"sites-available/cms.conf"].replace(b"root @", b"root /srv").replace(b"\x00", b"@")
)

LUA = {
    b"nginx.conf": b"".join(b"load_module %b;\n" % each.encode() for each in LUA_MODULES)
    + _PLACES
    + b"events { }\nhttp {\n"
    + _TEMP
    + b"""
    access_log off;
    lua_package_path '@/lua/?.lua;;';
    lua_shared_dict limits 1m;

    init_by_lua_block {
        -- it's { a remark } with "signs
        --[[ and one of
             two lines: } ]]
        local text = [==[ ]] } it"s ' { ]==]
        local escaped = "\\"}" .. '\\'{'
        settings = { text = text, nested = { { escaped } } }
    }
    include conf.d/*.conf;
    include gate/*.conf;
}
""",
    b"lua/gate.lua": b"return { check = function() return '{' end }\n",
    b"gate/one.conf": b"""server {
    listen 18099;
    set_by_lua_block $brace { return "}" }
    set_by_lua $old 'return "{" .. ngx.arg[1]' $uri;
    location /in { access_by_lua_block {
            if ngx.var.arg_x == "}" then ngx.exit(403) end -- }
            ngx.header["X-Brace"] = '{'
        }
        proxy_pass http://web;
    }
    location /out { content_by_lua_block { ngx.say([[include conf.d/*.conf; # {]]) } }
    location /file { content_by_lua_file @/lua/gate.lua; }
    header_filter_by_lua_block { ngx.header.server = nil }
}
""",
}

WHOLE: dict[str, tuple[dict[bytes, bytes], str]] = {
    "boilerplate": (BOILERPLATE, "conf.d/lbwatch.conf"),
    "panel": (PANEL, "conf.d/lbwatch.conf"),
    "cms": (CMS, "upstreams/lbwatch.conf"),
    "lua": (LUA, "conf.d/lbwatch.conf"),
}
"""By kind, the files, and where the output is among them."""
