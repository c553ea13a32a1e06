"""
nginx-proxy's variables and labels, read into the model that lbwatch's own labels are read into.

`compat_labels` reads those of a container, `proxy_rules` those of the proxy itself. The grammar is stricter than
nginx-proxy's, which writes every value as it is: see docs/nginx-proxy.md.
"""

from lbwatch.core.sites.nginxproxy.container import asks, compat_labels
from lbwatch.core.sites.nginxproxy.names import LABELS, VARIABLES
from lbwatch.core.sites.nginxproxy.proxy import proxy_rules

__all__ = ["LABELS", "VARIABLES", "asks", "compat_labels", "proxy_rules"]
