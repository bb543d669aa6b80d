"""A server of models: live streams by WebSocket, recordings and music by HTTP, and a page. No torch."""
