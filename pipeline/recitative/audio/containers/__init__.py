"""What the container of a recording says of its length, beside what is there; nothing is decoded for this.

Decoders believe headers: of a file that was cut off, joined with another, or written into a pipe they return a part
as if it were all. So every container is read here first, and what its header leaves out or gets wrong is mended in
memory (``Part.patches``), or told (``Layout.fault``).
"""
