"""What a program or a Python package depends on: its libraries, its system calls, and in which guests it will run."""
