"""The recurrent core, the layers around it, and losses."""
