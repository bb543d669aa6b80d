"""The recurrent core and what stands around it."""
