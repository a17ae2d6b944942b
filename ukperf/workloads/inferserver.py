"""A small inference server of ours over the adapters of `infer`: one process, HTTP/1.1, a row in, a prediction out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.imaging import modelfile, runtimes
from ukperf.imaging.distributions import site_of
from ukperf.model import Accelerator, Request
from ukperf.text import many
from ukperf.workloads import inferring, joining
from ukperf.workloads.base import Bench, Prepared
from ukperf.workloads.infer import InferOptions, model_for
from ukperf.workloads.inferring import Inference


@dataclass(frozen=True)
class InferServer:
    """What it serves: as `ukperf infer` has it."""

    runtime: str
    model: str = ""
    model_file: Path | None = None
    inputs: Path | None = None
    interpreter: Path | None = None


def prepared_server(server: InferServer, port: int, request: Request, bench: Bench) -> Prepared:
    """The request with the server as its program. Raises UkperfError where the runtime or the model is missing, and for
    a model that is code: it would be loaded on this machine where that is among the guests."""
    if any(variant.program for variant in request.variants.values()):
        raise UkperfError("With --runtime every guest runs the same server.", hint="Leave out program= of --variant.")
    runtime = runtimes.get(server.runtime)
    site = site_of(server.interpreter) if server.interpreter is not None else None
    options = InferOptions(
        runtime=server.runtime, model=server.model, model_file=server.model_file, inputs=server.inputs
    )
    model = model_for(options, runtime, site, bench.say)
    code = model.format in modelfile.CODE and server.model_file is not None
    joining.guests_for(request, request.accelerator, own_model=code)
    if request.accelerator is not Accelerator.NATIVE and request.machine.memory_mib < runtime.memory_mib:
        bench.say(f"Guests get {runtime.memory_mib} MiB of memory, for {runtime.name}.")
        request = replace(request, machine=replace(request.machine, memory_mib=runtime.memory_mib))
    work = Inference(runtime, model, site, threads=1, vcpus=request.machine.vcpus)
    made = inferring.packed_server(work, port)
    bench.say(
        f"{runtime.name} serves {model.name} ({model.format}, sha256 {model.digest[:12]}) in {many(1, 'thread')}; its "
        f"tree has {made.size >> 20} MiB."
    )
    suited = joining.suited(own_model=code)
    kinds = {name: name for name in request.guests or suited}
    kinds |= {name: variant.guest for name, variant in request.variants.items()}
    memory = joining.memory_for_files(kinds, dict.fromkeys(kinds, made.size), request.machine.memory_mib)
    return Prepared(replace(request, program=made.program, default_guests=suited, memory_mib=memory))
