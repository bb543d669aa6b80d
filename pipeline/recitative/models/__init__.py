"""A front end, the core and a head, in one file."""
