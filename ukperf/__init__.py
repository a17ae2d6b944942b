"""ukperf: boots the same program in unikernels and Linux and says which is faster, by how much, how surely."""

__version__ = "0.1.0"
