"""A server of recognizers: live streams by WebSocket, recordings by HTTP, and a page. No torch."""
