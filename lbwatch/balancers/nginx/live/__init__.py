"""
Changes of servers without a reload: nginx's workers ask lbwatch, over a unix socket, and say what they have.

The file stays the same truth in nginx's own words, so that nginx serves from it without lbwatch. docs/live.md has the
whole of it; `templates/nginx/lua` is what runs in the workers.
"""
