"""Libraries by what they leave in a file that they are linked into, and those that the paper names.

The paper (section V.B, Figures 1 and 2) lists by hand what PyTorch, ONNX and TensorFlow Lite need to be built for
Unikraft. For each there is here what shows that it is in a file, and what shows that something else does its work.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Fate(StrEnum):
    """What became of a dependency that the paper names."""

    SEEN = "seen"
    REPLACED = "replaced"
    GONE = "gone"


@dataclass(frozen=True)
class KnownLibrary:
    """A library as it can be recognized.

    marks: byte strings among symbols and constants: C++ names as they are mangled, with their lengths, and C prefixes
    behind the NUL that ends the name before. files: sonames. notices: words in licence files; none: its name. unseen:
    it is all headers and leaves nothing in a file, so that a licence file must do.
    """

    name: str
    purpose: str
    marks: tuple[bytes, ...] = ()
    files: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    unseen: bool = False

    def notice(self) -> re.Pattern[str]:
        words = "|".join(re.escape(word) for word in self.notices or (self.name,))
        return re.compile(rf"(?<![\w-])(?:{words})(?![\w-])", re.IGNORECASE)

    def is_file(self, soname: str) -> bool:
        """Is it the library with this name, also as auditwheel renames it (libgomp-e985bcbb.so.1)?"""
        plain = re.sub(r"-[0-9a-f]{6,}(?=[.-]|$)", "", soname)
        return any(plain.startswith((f"{name}.so", f"{name}-")) for name in self.files)


KNOWN: tuple[KnownLibrary, ...] = (
    # language runtimes
    KnownLibrary("glibc", "C library", files=("libc",)),
    KnownLibrary("musl", "C library", files=("libc.musl", "ld-musl")),
    KnownLibrary("newlib", "C library", (b"\0__sinit", b"newlib/")),
    KnownLibrary("libstdc++", "C++ library", (b"\0_ZNSt8ios_base4InitC2Ev",), files=("libstdc++",)),
    KnownLibrary("libcxx", "C++ library", (b"NSt3__1",), files=("libc++",), notices=("libc++", "libcxx")),
    KnownLibrary(
        "libcxxabi", "C++ runtime", (b"\0__cxa_uncaught_exceptions",), files=("libc++abi",), notices=("libc++abi",)
    ),
    KnownLibrary("libunwind", "stack unwinding", (b"\0unw_getcontext",), files=("libunwind",)),
    KnownLibrary("libgcc", "compiler's runtime", files=("libgcc_s",)),
    KnownLibrary("compiler-rt", "compiler's runtime", (b"compiler-rt/lib",)),
    KnownLibrary("python", "language runtime", files=("libpython3",)),
    KnownLibrary("libgfortran", "Fortran runtime", (b"\0_gfortran_st_write",), files=("libgfortran",)),
    # threads
    KnownLibrary("pthread-embedded", "threads", (b"pte_osThreadCreate",)),
    KnownLibrary("libgomp", "threads (OpenMP)", files=("libgomp",)),
    KnownLibrary("libomp", "threads (OpenMP)", (b"\0__kmpc_fork_call", b"__kmp_"), files=("libomp", "libiomp5")),
    KnownLibrary("pthreadpool", "threads", (b"\0pthreadpool_create", b"pthreadpool_compute")),
    KnownLibrary(
        "oneTBB", "threads", (b"N3tbb6detail",), files=("libtbb", "libtbbmalloc"), notices=("onetbb", "oneTBB")
    ),
    # network
    KnownLibrary("lwip", "network", (b"\0lwip_socket", b"lwip_init")),
    KnownLibrary("libuv", "network, events", (b"\0uv_loop_init", b"\0uv_run"), files=("libuv",)),
    KnownLibrary("gloo", "network, collectives", (b"N4gloo",)),
    # serialization
    KnownLibrary("protobuf", "serialization", (b"N6google8protobuf",), files=("libprotobuf", "libprotobuf-lite")),
    KnownLibrary("flatbuffers", "serialization", (b"N11flatbuffers",)),
    KnownLibrary("onnx", "model format", (b"N4onnx", b"N10onnx_torch")),
    KnownLibrary("nlohmann-json", "serialization", (b"8nlohmann",), notices=("nlohmann",)),
    # arithmetic
    KnownLibrary("eigen", "linear algebra", (b"N5Eigen", b"NK5Eigen")),
    KnownLibrary("gemmlowp", "linear algebra, 8 bits", (b"N8gemmlowp",)),
    KnownLibrary("ruy", "linear algebra", (b"N3ruy",)),
    KnownLibrary("sleef", "vector mathematics", (b"\0Sleef_",), files=("libsleef",)),
    KnownLibrary("fxdiv", "integer division", (b"FXdiv/",), unseen=True),
    KnownLibrary("fft2d", "Fourier transforms", (b"\0rdft2d", b"\0cdft2d")),
    KnownLibrary("pocketfft", "Fourier transforms", (b"9pocketfft", b"10pocketfft")),
    KnownLibrary("kissfft", "Fourier transforms", (b"\0kiss_fft",)),
    KnownLibrary(
        "oneDNN", "neural networks", (b"N4dnnl4impl",), files=("libdnnl",), notices=("onednn", "mkl-dnn", "ideep")
    ),
    KnownLibrary(
        "MKL", "linear algebra", (b"\0mkl_serv_", b"mkl_blas_"), ("libmkl_rt", "libmkl_core"), ("Math Kernel Library",)
    ),
    KnownLibrary(
        "OpenBLAS", "linear algebra", (b"\0openblas_get_config", b"\0scipy_openblas_get_config"), ("libopenblas",)
    ),
    KnownLibrary(
        "BLAS", "linear algebra", files=("libblas", "libscipy_openblas", "libscipy_openblas64_"), notices=("blas",)
    ),
    KnownLibrary("XNNPACK", "neural networks", (b"\0xnn_create_", b"\0xnn_define_", b"xnn_create_runtime")),
    KnownLibrary("FBGEMM", "linear algebra, 8 bits", (b"N6fbgemm",)),
    KnownLibrary("QNNPACK", "neural networks, 8 bits", (b"\0pytorch_qnnp_", b"\0qnnp_")),
    KnownLibrary("KleidiAI", "linear algebra", (b"\0kai_",)),
    KnownLibrary("MLAS", "linear algebra", (b"MlasGemm", b"MLAS_")),
    # of frameworks
    KnownLibrary("caffe2", "framework", (b"N6caffe2",)),
    KnownLibrary("cuda", "GPU", files=("libcudart", "libcuda", "libcublas"), notices=("cudart",)),
    KnownLibrary("cpuinfo", "detects the CPU", (b"\0cpuinfo_initialize", b"cpuinfo_initialize")),
    KnownLibrary("abseil", "C++ library", (b"N4absl",), notices=("abseil", "abseil-cpp")),
    KnownLibrary("fmt", "texts", (b"N3fmt",)),
    KnownLibrary("re2", "patterns", (b"N3re2",)),
    KnownLibrary("pybind11", "Python bindings", (b"N8pybind11",)),
    KnownLibrary("nanobind", "Python bindings", (b"N8nanobind",)),
    KnownLibrary("zlib", "compression", (b"\0inflateInit2_", b"deflate 1."), files=("libz",)),
)
BY_NAME = {known.name: known for known in KNOWN}


@dataclass(frozen=True)
class PaperDependency:
    """A dependency as the paper names it.

    of: which of its frameworks needs it; library: its entry in KNOWN; instead: those that do its work where it is not
    there; imports: functions that a file asks the C library for, where the kernel does the work; otherwise: what
    does it then.
    """

    name: str
    of: tuple[str, ...]
    library: str
    instead: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    otherwise: str = ""


_ALL = ("PyTorch", "TensorFlow Lite", "ONNX")
_CPP = ("PyTorch", "TensorFlow Lite")
PAPER: tuple[PaperDependency, ...] = (
    PaperDependency("newlib", _ALL, "newlib", ("glibc", "musl")),
    PaperDependency("C++ library (libcxx)", _CPP, "libcxx", ("libstdc++",)),
    PaperDependency("libgccabi (libcxxabi)", _CPP, "libcxxabi", ("libstdc++",)),
    PaperDependency("libunwind", _CPP, "libunwind", ("libgcc",)),
    PaperDependency("libgcc", _CPP, "libgcc", ("compiler-rt",)),
    PaperDependency("compiler-rt", _CPP, "compiler-rt", ("libgcc",)),
    PaperDependency(
        "pthread-embedded", _ALL, "pthread-embedded", ("glibc", "musl"), ("pthread_create",), "threads of the kernel"
    ),
    PaperDependency("python", ("ONNX",), "python"),
    PaperDependency("lwip", _CPP, "lwip", (), ("socket", "connect", "getaddrinfo"), "sockets of the kernel"),
    PaperDependency("protobuf", ("PyTorch", "ONNX"), "protobuf", ("flatbuffers",)),
    PaperDependency("flatbuffers", ("TensorFlow Lite",), "flatbuffers", ("protobuf",)),
    PaperDependency("gemmlowp", _CPP, "gemmlowp", ("XNNPACK", "ruy", "oneDNN", "FBGEMM", "MLAS", "MKL")),
    PaperDependency("eigen", _CPP, "eigen", ("MKL", "OpenBLAS", "BLAS", "oneDNN")),
    PaperDependency("sleef", ("PyTorch",), "sleef", ("MKL",)),
    PaperDependency("libfxdiv", ("PyTorch",), "fxdiv", ("pthreadpool",)),
    PaperDependency("fft2d", ("TensorFlow Lite",), "fft2d", ("pocketfft", "kissfft", "MKL")),
    PaperDependency("caffe2", ("PyTorch",), "caffe2"),
    PaperDependency("CUDA", _CPP, "cuda"),
)
