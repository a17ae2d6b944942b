"""Profiles: where a guest's instructions go. What QEMU counted (`counts`), and what it belongs to."""
