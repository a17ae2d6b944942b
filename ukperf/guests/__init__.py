"""One module per guest: what it needs and how its image is put together."""
