"""The status server: health, metrics, the state as JSON, and a page for people; read-only, and never waited for."""
