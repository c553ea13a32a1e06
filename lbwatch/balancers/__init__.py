"""Where upstreams go, a folder for each load balancer with its own dialect, limits and pace."""
