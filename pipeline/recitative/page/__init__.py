"""Pages of results: HTML files that need nothing else, on a phone or a desk, light or dark."""
