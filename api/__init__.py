"""HTTP, WebSocket and the web page: thin, the read side only."""
