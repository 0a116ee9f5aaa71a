"""Flags that the compiler would take and a manifest may not give, as data with reasons.

A key holds the text of a flag, not the bytes of a file that it names, nor the CPU of the host: two
runs with the same key would differ. What comes out, and where, is decided by tidemill. Names are
those of iree-compile 3.9 to 3.13 without dashes; ``*`` stands for any rest of a name. Pure.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase

_LEAVE = "leave it out"
_BUNDLED = "leave it out: the compiler brings its own"
_PARAMETERS = "leave it out: parameters come from the pack step"
_OBJECTS = "leave it out: executables come from the model alone"
_OUTPUT = "what comes out of the compiler is one VMFB"
_WHERE = "it leaves files beside the VMFB; to look into a compilation, run the command of its log"

#: Flags whose value names a file, a folder or a program that the compiler reads or starts.
READS: Mapping[str, str] = {
    "iree-codegen-debug-patched-func-ops-file-name": _OBJECTS,
    "iree-codegen-transform-dialect-library": _LEAVE,
    "iree-codegen-tuning-spec-path": _LEAVE,
    "iree-cuda-libdevice-path": _BUNDLED,
    "iree-cuda-use-ptxas": _BUNDLED,
    "iree-cuda-use-ptxas-from": _BUNDLED,
    "iree-hal-executable-object-search-path": _OBJECTS,
    "iree-hal-preprocess-executables-with": _OBJECTS,
    "iree-hal-substitute-executable-*": _OBJECTS,
    "iree-hip-bc-dir": _BUNDLED,
    "iree-link-bitcode": _OBJECTS,
    "iree-llvmcpu-embedded-linker-path": _BUNDLED,
    "iree-llvmcpu-system-linker-path": _BUNDLED,
    "iree-llvmcpu-wasm-linker-path": _BUNDLED,
    "iree-load-plugin": _LEAVE,
    "iree-opt-import-parameters": _PARAMETERS,
    "iree-parameter-import": _PARAMETERS,
    "iree-preprocessing-pdl-spec-filename": _LEAVE,
    "iree-preprocessing-transform-spec-filename": _LEAVE,
    "iree-rocm-bc-dir": _BUNDLED,
    # LLVM's own.
    "cgscc-inline-replay": _LEAVE,
    "chr-function-list": _LEAVE,
    "chr-module-list": _LEAVE,
    "codegen-data-use-path": _LEAVE,
    "dfsan-abilist": _LEAVE,
    "extract-blocks-file": _LEAVE,
    "forceattrs-csv-path": _LEAVE,
    "fs-profile-file": _LEAVE,
    "fs-remapping-file": _LEAVE,
    "inliner-interactive-channel-base": _LEAVE,
    "instrumentor-read-config-files": _LEAVE,
    "instrumentor-read-config-paths-file": _LEAVE,
    "internalize-public-api-file": _LEAVE,
    "ir2vec-vocab-path": _LEAVE,
    "load": _LEAVE,
    "lowertypetests-read-summary": _LEAVE,
    "memprof-import-summary": _LEAVE,
    "mir2vec-vocab-path": _LEAVE,
    "ml-inliner-ir2vec-vocab-file": _LEAVE,
    "ms-secure-hotpatch-functions-file": _LEAVE,
    "pgo-test-profile-file": _LEAVE,
    "pgo-test-profile-remapping-file": _LEAVE,
    "print-changed-diff-path": _LEAVE,
    "print-changed-dot-path": _LEAVE,
    "regalloc-evict-interactive-channel-base": _LEAVE,
    "regalloc-priority-interactive-channel-base": _LEAVE,
    "rewrite-map-file": _LEAVE,
    "sample-profile-file": _LEAVE,
    "sample-profile-inline-replay": _LEAVE,
    "sample-profile-remapping-file": _LEAVE,
    "summary-file": _LEAVE,
    "thinlto-workload-def": _LEAVE,
    "use-ctx-profile": _LEAVE,
    "wholeprogramdevirt-read-summary": _LEAVE,
    "x86-lvi-load-opt-plugin": _LEAVE,
}
#: Flags that say what the compiler makes and where it puts it.
OWN: Mapping[str, str] = {
    "o": _OUTPUT,
    "compile-from": _OUTPUT,
    "compile-mode": _OUTPUT,
    "compile-to": _OUTPUT,
    "emit-mlir-bytecode": _OUTPUT,
    "emit-mlir-bytecode-version": _OUTPUT,
    "iree-llvmcpu-static-library-output-path": _OUTPUT,
    "iree-vm-bytecode-module-output-format": _OUTPUT,
    "iree-vm-c-module-output-format": _OUTPUT,
    "output-format": _OUTPUT,
    "split-input-file": _OUTPUT,
    "iree-opt-export-parameters": _PARAMETERS,
    "iree-opt-splat-parameters": _PARAMETERS,
    "iree-parameter-encoder-output-file": _PARAMETERS,
    "iree-parameter-export": _PARAMETERS,
    "iree-parameter-splat": _PARAMETERS,
    "iree-scheduling-dump-*": "the compile step asks for these numbers itself",
    "dump-compilation-phases-to": _WHERE,
    "iree-codegen-dump-tuning-specs-to": _WHERE,
    "iree-flow-dump-dispatch-graph": _WHERE,
    "iree-flow-dump-dispatch-graph-output-file": _WHERE,
    "iree-hal-dump-*": _WHERE,
    "iree-util-hoist-into-globals-print-constexpr-dotgraph-to": _WHERE,
    "iree-vm-bytecode-source-listing": _WHERE,
    "amdgpu-module-splitting-print-module-dotcfg": _WHERE,
    "amdgpu-module-splitting-print-partition-summaries": _WHERE,
    "attributor-depgraph-dot-filename-prefix": _WHERE,
    "callgraph-dot-filename-prefix": _WHERE,
    "cfg-dot-filename-prefix": _WHERE,
    "crash-diagnostics-dir": _WHERE,
    "dag-file-location": _WHERE,
    "dot-cfg-dir": _WHERE,
    "dot-cfg-mssa": _WHERE,
    "dot-ddg-filename-prefix": _WHERE,
    "info-output-file": _WHERE,
    "instrument-cold-function-only-path": _WHERE,
    "instrumentor-write-config-file": _WHERE,
    "ir-dump-directory": _WHERE,
    "log-actions-to": _WHERE,
    "lowertypetests-write-summary": _WHERE,
    "mcfg-dot-filename-prefix": _WHERE,
    "memprof-dot-file-path-prefix": _WHERE,
    "mlir-pass-pipeline-crash-reproducer": _WHERE,
    "mlir-print-ir-tree-dir": _WHERE,
    "module-summary-dot-file": _WHERE,
    "opt-bisect-print-ir-path": _WHERE,
    "print-on-crash-path": _WHERE,
    "profile-actions-to": _WHERE,
    "remarks-output-file": _WHERE,
    "stack-usage-file": _WHERE,
    "wholeprogramdevirt-write-summary": _WHERE,
}
#: Flag → the values of it that stand for the CPU of the machine that compiles.
HOST_CPU: Mapping[str, frozenset[str]] = {
    "iree-llvmcpu-target-cpu": frozenset({"host", "native"}),
    "iree-llvmcpu-target-cpu-features": frozenset({"host", "native"}),
}


def why_refused(name: str, value: str | None) -> str:
    """Why a manifest may not give the flag ``name`` (without dashes); empty when it may."""
    if (advice := _advice(READS, name)) is not None:
        return f"--{name} reads a file that is not part of the key; {advice}"
    if (reason := _advice(OWN, name)) is not None:
        dashes = "-" if len(name) == 1 else "--"
        return f"{dashes}{name} is tidemill's own: {reason}"
    if value in HOST_CPU.get(name, ()):
        return (
            f"--{name}={value} names the build host's own CPU, which a key cannot hold:"
            " name a CPU such as x86-64-v3"
        )
    return ""


def _advice(table: Mapping[str, str], name: str) -> str | None:
    if name in table:
        return table[name]
    patterns = (pattern for pattern in table if pattern.endswith("*"))
    return next((table[pattern] for pattern in patterns if fnmatchcase(name, pattern)), None)
