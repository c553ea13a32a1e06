"""Files that sites are made with: certificates, snippets, passwords; read within bounds, and watched."""
