"""What was measured, read again: runs' folders, files of pyperf and hyperfine."""
