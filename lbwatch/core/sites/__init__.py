"""Sites: what containers say of hosts, judged by a grammar and made into `Site`s. Pure."""
