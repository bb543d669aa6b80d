"""A server of models of several kinds: live streams by WebSocket, the rest by HTTP, and a page. No torch."""
