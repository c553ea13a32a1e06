"""Sites in nginx's dialect: what a template gets of a host, as nginx takes it. Pure."""
