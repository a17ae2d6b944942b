"""Bytes in, bootable files out."""
