"""What this machine can do, what is missing, and what makes it noisy."""
