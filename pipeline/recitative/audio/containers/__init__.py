"""Containers of recordings: the number of samples they claim and contain, found without decoding.

Decoders believe headers: of a file that was truncated, concatenated, or written to a pipe they return a part as if it
were complete. So every container is parsed here first. Wrong or missing lengths in the header are corrected in memory
(``StreamPart.patches``) or reported (``Layout.fault``).
"""
