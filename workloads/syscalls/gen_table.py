"""Writes table.h from the kernel's own unistd header: `python3 gen_table.py [unistd_64.h] > table.h`.

The header comes with Debian's linux-libc-dev; a newer kernel's header adds numbers, and the prober then says
"no probe" for those until somebody writes one in probes_*.h.
"""

import re
import sys
from pathlib import Path

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
DEFINE = re.compile(r"^#define __NR_(\w+) (\d+)$", re.M)


def main() -> None:
    header = Path(sys.argv[1]) if len(sys.argv) > 1 else HEADER
    calls = sorted((int(number), name) for name, number in DEFINE.findall(header.read_text()))
    print("/* Every x86-64 system call: made by gen_table.py from the kernel's unistd header. Do not edit. */")
    print("#ifndef SYSCALLS_TABLE_H\n#define SYSCALLS_TABLE_H\n")
    print(f"#define SYSCALLS_COUNT {len(calls)}")
    print(f"#define SYSCALLS_END {calls[-1][0] + 1}\n")
    print("enum syscall_number {")
    for number, name in calls:
        print(f"    SC_{name} = {number},")
    print("};\n")
    print("#define SYSCALLS(X) \\")
    print(" \\\n".join(f"    X({number}, {name})" for number, name in calls))
    print("\n#endif")


if __name__ == "__main__":
    main()
