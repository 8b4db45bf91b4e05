#!/usr/bin/env python3
"""Runs the tests on Linux, with `java` and with the bridge, and compares the two.

    run-on-linux.py [--long] [--bridge FILE] [DIR[/RUN] ...]

The format of test.toml is README.md's. Needs a JDK 17 and the bridge, built:
`cargo build --release -p jvm-bridge`.
"""
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = ROOT / "target" / "java-tests"
JAVA_HOME = os.environ.get("JAVA_HOME") or str(Path(shutil.which("java")).resolve().parent.parent)
WORK = Path("/var/tmp/crema-test")


def artefact(spec):
    """Returns the file of an artefact, fetched if it is not in the cache."""
    kept = CACHE / "artefacts" / spec["sha256"][:16] / spec["as"]
    if kept.exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        if spec["from"] == "npm":
            said = subprocess.run(["npm", "pack", "--silent", f"{spec['package']}@{spec['version']}"],
                                  cwd=scratch, check=True, capture_output=True, text=True)
            got = Path(scratch) / said.stdout.split()[-1]
        else:
            group, name = spec["package"].split(":")
            tail = f":{spec['classifier']}" if "classifier" in spec else ""
            subprocess.run(["mvn", "-q", "-B", "dependency:get", "-Dtransitive=false",
                            f"-Dartifact={group}:{name}:{spec['version']}:jar{tail}",
                            f"-Dmaven.repo.local={scratch}/repository"], check=True, stdout=subprocess.DEVNULL)
            suffix = f"-{spec['classifier']}" if "classifier" in spec else ""
            got = Path(scratch, "repository", *group.split("."), name, spec["version"],
                       f"{name}-{spec['version']}{suffix}.jar")
        digest = hashlib.sha256(got.read_bytes()).hexdigest()
        if digest != spec["sha256"]:
            sys.exit(f"{spec['package']} {spec['version']}: sha256 is {digest}")
        if spec["from"] == "npm":
            with tarfile.open(got) as tar:
                kept.write_bytes(tar.extractfile(spec["file"]).read())
        else:
            shutil.copy(got, kept)
    return kept


def prepare(directory):
    """Compiles a test's classes into its application folder."""
    app = CACHE / "apps" / directory.name
    shutil.rmtree(app, ignore_errors=True)
    (app / "classes").mkdir(parents=True)
    sources = sorted(map(str, directory.glob("*.java")))
    if sources:
        done = subprocess.run([f"{JAVA_HOME}/bin/javac", "--release", "17", "-nowarn", "-d", str(app / "classes"),
                               *sources], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
    return app


def run_once(command, run, app):
    """Returns (status, stdout, stderr, seconds)."""
    shutil.rmtree(WORK, ignore_errors=True)
    env = {"PATH": "/usr/bin:/bin", "JAVA_HOME": JAVA_HOME, "LANG": "C.UTF-8", "CREMA_HEAP_POLICY": "off"}
    env |= run.get("env", {})
    stdin = (run.get("stdin", "") * run.get("stdin_repeat", 1)).encode()
    begin = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        process = subprocess.Popen(command, stdin=given, stdout=out, stderr=err, cwd=app, env=env)
        wanted = list(run.get("signals", []))
        try:
            while wanted and process.poll() is None:
                text = os.pread(out.fileno(), 1 << 20, 0).decode(errors="replace")
                if any(line.startswith(wanted[0]["after"]) for line in text.splitlines()):
                    process.send_signal(signal.Signals(wanted.pop(0)["number"]))
                time.sleep(0.02)
            status = process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = "timeout"
        out.seek(0)
        err.seek(0)
        seconds = time.monotonic() - begin
        if isinstance(status, int) and status < 0:
            status = 128 - status
        return status, out.read(), err.read(), seconds


def main():
    words = sys.argv[1:]
    with_long = "--long" in words
    bridge = ROOT / "target" / "release" / "jvm-bridge"
    if "--bridge" in words:
        bridge = Path(words.pop(words.index("--bridge") + 1)).resolve()
    wanted = [w for w in words if not w.startswith("--")]
    failures = 0
    for file in sorted(HERE.glob("*/test.toml")):
        directory = file.parent
        chosen = [w.partition("/")[2] for w in wanted if w.partition("/")[0] == directory.name]
        if wanted and not chosen:
            continue
        spec = tomllib.loads(file.read_text())
        defaults = {k: v for k, v in spec.items() if k not in ("run", "artefact", "about")}
        app = prepare(directory)
        for own in spec["run"]:
            run = defaults | own
            if "" not in chosen and chosen and run["name"] not in chosen:
                continue
            if run.get("long") and not with_long and run["name"] not in chosen:
                continue
            for name in run.get("artefacts", []):
                a = spec["artefact"][name]
                shutil.copy(artefact(a), app / a["as"])
            for collector in run.get("collectors") or [None]:
                options = run.get("linux_options", []) + run.get("java_options", [])
                if collector:
                    options.append(f"-XX:+Use{collector}GC")
                line = options + run["launch"] + run.get("args", [])
                first = run_once([f"{JAVA_HOME}/bin/java", *line], run, app)
                second = run_once([str(bridge), *line], run, app)
                streams = run.get("compare", ["stdout", "stderr"])
                problems = []
                if first[0] != run.get("status", 0):
                    problems.append(f"status {first[0]}, not {run.get('status', 0)}")
                if first[0] != second[0]:
                    problems.append(f"the bridge's status is {second[0]}")
                for index, stream in ((1, "stdout"), (2, "stderr")):
                    if stream in streams and first[index] != second[index]:
                        problems.append(f"{stream} differs")
                    for text in run.get("contains", {}).get(stream, []):
                        if not all(text.encode() in result[index] for result in (first, second)):
                            problems.append(f"{stream} lacks {text!r}")
                title = f"{directory.name}/{run['name']}" + (f" {collector}" if collector else "")
                print(f"{'FAILED' if problems else 'ok':7}{title:56}{first[3]:6.2f} s {second[3]:6.2f} s  "
                      f"{'; '.join(problems)}", flush=True)
                if problems:
                    failures += 1
                    safe = re.sub(r"\W+", "-", title)
                    for who, result in (("java", first), ("bridge", second)):
                        (CACHE / f"{safe}.{who}.out").write_bytes(result[1])
                        (CACHE / f"{safe}.{who}.err").write_bytes(result[2])
    print(f"{failures} failed")
    sys.exit(1 if failures else 0)


main()
