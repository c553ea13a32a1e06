#!/bin/sh
# In the place of nginx-proxy's program, by which acme-companion runs docker-gen: there is nothing to prepare here.
exec "$@"
