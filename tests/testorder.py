"""Who runs what, where tests have several workers (pytest-xdist: `scripts/test.sh`): units that stay together, the
longest first.

A unit is one file, whose tests share what they made for the module, one folder that shares a host, or one test of a
file whose tests share nothing. A worker takes the next unit when it is nearly through with its last one, so that both
end at about the same time if what is long does not begin last. Nothing here decides what a test says: without workers
(`-n 0`) tests run in the order of their files.
"""

from __future__ import annotations

from typing import Any

# One emulated Xen host for all of them: a second one would take minutes and 2.5 GiB.
TOGETHER = ("tests/xenhost/",)

# Each test of these has a world, a cache and guests of its own.
APART = (
    "tests/real/test_boot_time.py",
    "tests/real/test_broken_off.py",
    "tests/real/test_command_guests.py",
    "tests/real/test_infer_guests.py",
    "tests/real/test_run_guests.py",
    "tests/real/test_sklearn_guests.py",
)

# Seconds of a CPU, roughly, and of waiting, of units from twelve on; what is not here is short. Only the order matters.
SECONDS = {
    "tests/xenhost/": 453,
    "tests/real/test_why_not.py": 137,
    "tests/real/test_other_programs.py": 95,
    "tests/real/test_sklearn_guests.py::test_a_guest_with_too_little_memory_is_told_how_much_would_do": 77,
    "tests/real/test_run_guests.py::test_megabytes_of_output_come_through_every_guests_console": 75,
    "tests/real/test_syscalls.py": 75,
    "tests/real/test_unikernels.py": 68,
    "tests/real/test_distribution_guests.py": 67,
    "tests/real/test_guestside.py": 65,
    "tests/real/test_sklearn_guests.py::test_a_model_of_ones_own_is_measured_and_answers_alike": 64,
    "tests/real/test_sklearn_guests.py::test_every_model_with_two_threads_gives_the_hosts_answers": 62,
    "tests/remote/test_remote_qemu.py": 62,
    "tests/real/test_python_scripts.py": 55,
    "tests/real/test_linux_lean.py": 52,
    "tests/unit/test_extending.py": 45,
    "tests/real/test_density_guests.py": 40,
    "tests/real/test_infer_guests.py::test_a_guest_without_cpuinfo_runs_another_engine_and_is_not_compared": 35,
    "tests/real/test_cold_start_runs.py": 34,
    "tests/real/test_faulty_guests.py": 33,
    "tests/real/test_infer_guests.py::test_onnxruntime_gives_the_same_bits_by_the_same_engine_in_every_guest": 30,
    "tests/real/test_wheel.py": 29,
    "tests/real/test_boot_time.py::test_instruction_counts_repeat_beside_a_busy_cpu_and_whoever_launches": 29,
    "tests/unit/test_native_runs.py": 28,
    "tests/unit/test_models.py": 27,
    "tests/real/test_infer_guests.py::test_the_papers_page_has_each_runtime_in_each_guest_and_boots_nothing_twice": 26,
    "tests/unit/test_cli.py": 23,
    "tests/unit/test_docs.py": 23,
    "tests/real/test_restored_guests.py": 22,
    "tests/unit/test_serve.py": 22,
    "tests/real/test_serve_guests.py": 22,
    "tests/unit/test_rooms.py": 21,
    "tests/real/test_session_daemon.py": 18,
    "tests/real/test_run_guests.py::test_one_program_in_every_guest_is_timed_and_did_the_same_work": 18,
    "tests/real/test_sklearn.py": 17,
    "tests/unit/test_packpython.py": 16,
    "tests/unit/test_load.py": 16,
    "tests/unit/test_layout.py": 16,
    "tests/real/test_boot_time.py::test_instruction_counts_are_the_same_on_microvm_whoever_launches": 14,
    "tests/real/test_broken_off.py::test_resume_after_kill_9_keeps_every_record_and_ends_the_stray_guest_alone": 14,
    "tests/unit/test_commands.py": 14,
    "tests/real/test_system_daemon.py": 13,
    "tests/real/test_sklearn_guests.py::test_a_resumed_run_says_what_the_whole_one_would_have_said": 13,
    "tests/real/test_run_guests.py::test_a_data_file_of_50_mb_is_read_alike_in_every_guest": 13,
    "tests/unit/test_explaining.py": 12,
}


def unit(test: str) -> str:
    """The unit of a test, by its id (`tests/real/test_x.py::test_y[z]`)."""
    for folder in TOGETHER:
        if test.startswith(folder):
            return folder
    file = test.partition("::")[0]
    return test if file in APART else file


def seconds(test: str) -> float:
    """How long its unit takes, 0 where that is not known; of an unknown test among tests that are apart: a little."""
    mine = unit(test)
    return SECONDS.get(mine, SECONDS.get(mine.partition("[")[0], 5 if mine == test else 0))


def scheduler(config: Any, log: Any) -> Any:
    """xdist's scheduler of units, for `pytest_xdist_make_scheduler`."""
    from xdist.scheduler import LoadScopeScheduling

    class ByUnit(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid)

    config.option.loadscopereorder = False  # ours is the order of the collection: conftest.py
    return ByUnit(config, log)
