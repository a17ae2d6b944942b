"""/proc/cpuinfo for guests that have none: what CPUID says there, one stanza a virtual CPU.

Libraries read it and go another way in silence where it is missing: XNNPACK stays unused, and some wait for ever. The
names of flags are Linux's (arch/x86/include/asm/cpufeatures.h); the layout is that of arch/x86/kernel/cpu/proc.c.
"""

from pathlib import Path

PATH = Path("/proc/cpuinfo")
# push rbx; mov eax, edi; mov ecx, esi; mov r8, rdx; cpuid; mov [r8], eax; mov [r8+4], ebx; mov [r8+8], ecx;
# mov [r8+12], edx; pop rbx; ret
CPUID = bytes.fromhex("53 89f8 89f1 4989d0 0fa2 418900 41895804 41894808 4189500c 5b c3")
# xor ecx, ecx; xgetbv; ret
XGETBV = bytes.fromhex("31c9 0f01d0 c3")
# (leaf, subleaf, register) → names of bits, from bit 0; "": none that Linux has a word for
NAMES = {
    (1, 0, 3): "fpu vme de pse tsc msr pae mce cx8 apic  sep mtrr pge mca cmov pat pse36 pn clflush  dts acpi mmx fxsr "
    "sse sse2 ss ht tm ia64 pbe",
    (0x80000001, 0, 3): "           syscall         nx  mmxext   fxsr_opt pdpe1gb rdtscp  lm 3dnowext 3dnow",
    (1, 0, 2): "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm  pcid dca sse4_1 "
    "sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave  avx f16c rdrand hypervisor",
    (0x80000001, 0, 2): "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop "
    "skinit wdt  lwp fma4 tce",
    (7, 0, 1): "fsgsbase tsc_adjust  bmi1 hle avx2  smep bmi2 erms invpcid rtm  mpx   avx512f avx512dq rdseed adx smap "
    "avx512ifma  clflushopt clwb  avx512pf avx512er avx512cd sha_ni avx512bw avx512vl",
    (7, 0, 2): " avx512vbmi umip pku ospke waitpkg avx512_vbmi2  gfni vaes vpclmulqdq avx512_vnni avx512_bitalg  "
    "avx512_vpopcntdq  la57      rdpid",
    (7, 0, 3): "  avx512_4vnniw avx512_4fmaps fsrm               amx_bf16 avx512_fp16 amx_tile amx_int8",
    (7, 1, 0): "    avx_vnni avx512_bf16",
}
# What a system must save before programs may use it: bits of XCR0.
SAVED = {"avx": 0x6, "avx2": 0x6, "fma": 0x6, "f16c": 0x6, "avx_vnni": 0x6, "vaes": 0x6, "vpclmulqdq": 0x6}
SAVED_512, SAVED_AMX = 0xE6, 0x60000


class Cpu:
    """The CPU as this program sees it. Raises OSError where no memory can be made executable."""

    def __init__(self):
        import ctypes
        import mmap

        self.page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self.page.write(CPUID.ljust(64, b"\x90") + XGETBV)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.page))
        self.registers = (ctypes.c_uint32 * 4)()
        self.call = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)(start)
        saves = self.leaf(1)[2] >> 27 & 1  # OSXSAVE
        self.xcr0 = ctypes.CFUNCTYPE(ctypes.c_uint32)(start + 64)() if saves else 0

    def leaf(self, leaf, sub=0):
        """(eax, ebx, ecx, edx); zeros behind the last one that there is."""
        import ctypes

        first = leaf & 0x80000000
        self.call(first, 0, ctypes.addressof(self.registers))
        if leaf > self.registers[0]:
            return (0, 0, 0, 0)
        self.call(leaf, sub, ctypes.addressof(self.registers))
        return tuple(self.registers)

    @property
    def vendor(self):
        _, b, c, d = self.leaf(0)
        return b"".join(part.to_bytes(4, "little") for part in (b, d, c)).decode("ascii", "replace")

    @property
    def model_name(self):
        parts = (value for leaf in range(0x80000002, 0x80000005) for value in self.leaf(leaf))
        text = b"".join(part.to_bytes(4, "little") for part in parts)
        return text.partition(b"\0")[0].decode("ascii", "replace").strip() or "unknown"

    @property
    def signature(self):
        """(family, model, stepping)"""
        word = self.leaf(1)[0]
        family, model = word >> 8 & 15, word >> 4 & 15
        if family in (6, 15):
            model += (word >> 16 & 15) << 4
        if family == 15:
            family += word >> 20 & 255
        return family, model, word & 15

    def flags(self):
        """Linux's names of what programs may use here."""
        there = []
        for (leaf, sub, register), names in NAMES.items():
            bits = self.leaf(leaf, sub)[register]
            there += [name for bit, name in enumerate(names.split(" ")) if name and bits >> bit & 1]
        return [name for name in there if self._saved(name)]

    def _saved(self, name):
        mask = SAVED_512 if name.startswith("avx512") else SAVED_AMX if name.startswith("amx") else SAVED.get(name, 0)
        return self.xcr0 & mask == mask

    def isa(self):
        """The widest vector instructions, in one word: what libraries choose their kernels by."""
        flags = set(self.flags())
        steps = (
            ("AMX", {"amx_int8"}),
            ("AVX-512 VNNI", {"avx512f", "avx512vl", "avx512_vnni"}),
            ("AVX-512", {"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
            ("AVX2 FMA", {"avx2", "fma"}),
            ("AVX2", {"avx2"}),
            ("AVX", {"avx"}),
            ("SSE4.2", {"sse4_2"}),
        )
        return next((name for name, wanted in steps if wanted <= flags), "SSE2")


def text(cpu, count):
    """The file: nothing in it depends on when or where it is made but the CPU."""
    family, model, stepping = cpu.signature
    flags, level = " ".join(cpu.flags()), cpu.leaf(0)[0]
    return "".join(
        f"processor\t: {number}\nvendor_id\t: {cpu.vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n"
        f"model name\t: {cpu.model_name}\nstepping\t: {stepping}\nphysical id\t: 0\nsiblings\t: {count}\n"
        f"core id\t\t: {number}\ncpu cores\t: {count}\napicid\t\t: {number}\ninitial apicid\t: {number}\nfpu\t\t: yes\n"
        f"fpu_exception\t: yes\ncpuid level\t: {level}\nwp\t\t: yes\nflags\t\t: {flags}\nbugs\t\t:\n"
        f"clflush size\t: 64\ncache_alignment\t: 64\naddress sizes\t: 40 bits physical, 48 bits virtual\n\n"
        for number in range(count)
    )


def provide(cpu, count):
    """Write it where there is none: `own`, `made`, or why it could not be written."""
    if PATH.exists():
        return "own"
    try:
        PATH.parent.mkdir(exist_ok=True)
        PATH.write_text(text(cpu, count), encoding="ascii")
    except OSError as error:
        return f"not written: {error.strerror}"
    return "made"
